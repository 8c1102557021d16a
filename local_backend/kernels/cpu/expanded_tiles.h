// Keys and values of one head, expanded from latents and rounded to int8 again, position by position.
#pragma once

#include "attention_rows.h"

namespace deepseek::ISA {

// Bytes (4, 16): one of each row in turn, plus 128, is what a tile has of four numbers.
inline void put_four_rows(const int8_t* rows, uint8_t* out) {
  for (int four = 0; four < 4; ++four) {
    SixteenBytes x;
    uint8_t* parts = reinterpret_cast<uint8_t*>(&x);
    for (int row = 0; row < 4; ++row) std::memcpy(parts + 4 * row, rows + 16 * row + 4 * four, 4);
    x = other_sign(transpose_four(x));
    std::memcpy(out + 16 * four, &x, 16);
  }
}

// Bytes (16, 16) of sixteen numbers at sixteen positions as the value vectors of the span's tile `index`.
inline void put_sixteen_rows(const int8_t* rows, int64_t vector, int64_t index, uint8_t* values) {
  for (int four = 0; four < 4; ++four) {
    uint8_t* out = value_vector(values, vector, 4 * index + four);
    for (int row = 0; row < 16; ++row) std::memcpy(out + 4 * row, rows + 16 * row + 4 * four, 4);
  }
}

// Numbers (count, kSpan) of which a tile's sixteen columns become codes (count, 16); unit (16) is what they count.
inline void round_columns(const float* numbers, int64_t count, int8_t* codes, float* unit) {
  Floats largest_seen = zeros();
  for (int64_t i = 0; i < count; ++i) largest_seen = maximum(absolute(load(numbers + i * kSpan)), largest_seen);
  const Floats step = maximum(multiply(largest_seen, splat(1.0f / 127.0f)), splat(0x1p-126f));
  const Floats inverse = divide(splat(1.0f), step);
  store(unit, step);
  for (int64_t i = 0; i < count; ++i) {
    store_int8(codes + i * kTile, to_integers(multiply(load(numbers + i * kSpan), inverse)));
  }
}

// One head's keys and values over a context.
class ExpandedHead {
 public:
  ExpandedHead(Scratch& scratch, const LatentExpansion& parts, const KeyShape& latent, int64_t context_len)
      : parts_(parts),
        latent_(latent),
        shape_{parts.nope, latent.rope},
        tiles_(scratch.take<uint8_t>(num_tiles(context_len) * shape_.tile_bytes())),
        values_(scratch.take<uint8_t>(num_spans(context_len) * value_bytes(parts.values()))),
        value_unit_(scratch.take<float>(num_spans(context_len) * kSpan)),
        numbers_(scratch.take<float>(parts.rows() * kSpan)),
        codes_(scratch.take<int8_t>(parts.rows() * kTile)) {}

  static size_t bytes(const LatentExpansion& parts, const KeyShape& latent, int64_t context_len) {
    const KeyShape shape{parts.nope, latent.rope};
    return num_tiles(context_len) * shape.tile_bytes() + parts.rows() * (4 * kSpan + kTile) + 512 +
           num_spans(context_len) * (value_bytes(parts.values()) + 4 * kSpan);
  }

  const KeyShape& shape() const { return shape_; }

  // Expands span `index` of the context for a head.
  void expand(const LatentCache& cache, const AttentionSegment& segment, int64_t head, int64_t index) {
    const int64_t first = index * kSpanTiles, last = std::min(first + kSpanTiles, segment.num_tiles());
    const uint8_t* sources[kSpanTiles];
    for (int64_t tile = first; tile < last; ++tile) sources[tile - first] = cache.tile_of(segment, tile);
    multiply(sources, last - first, head);
    for (int64_t tile = first; tile < last; ++tile) {
      put_key(sources[tile - first], tile);
      put_value(tile);
      float* unit = value_unit_ + tile * kTile;
      for (int64_t i = 0; i < kTile; ++i) unit[i] = tile * kTile + i < segment.context_len ? unit[i] : 0.0f;
    }
  }

  // Points a span of `num_tiles` at what has been expanded.
  void open(int64_t index, int64_t num_tiles, Span& span) const {
    span.num_tiles = num_tiles;
    span.fetches = false;  // they have just been written
    span.first_position = index * kSpan;
    span.values = values_ + index * value_bytes(parts_.values());
    for (int64_t tile = 0; tile < num_tiles; ++tile) {
      span.tiles[tile] = tiles_ + (index * kSpanTiles + tile) * shape_.tile_bytes();
    }
    std::copy_n(value_unit_ + index * kSpan, num_tiles * kTile, span.value_unit);
  }

 private:
  static int64_t num_tiles(int64_t context_len) { return (context_len + kTile - 1) / kTile; }
  static int64_t num_spans(int64_t context_len) { return (context_len + kSpan - 1) / kSpan; }

  // numbers (rows, kSpan) = the head's rows times the latents of some tiles.
  void multiply(const uint8_t* const* tiles, int64_t count, int64_t head) {
    for (int64_t tile = 0; tile < count; tile += kTilesAtOnce) {
      if (count - tile == 1) {
        multiply_tiles<1>(tiles + tile, head, numbers_ + tile * kTile);
      } else {
        multiply_tiles<kTilesAtOnce>(tiles + tile, head, numbers_ + tile * kTile);
      }
    }
  }

  template <int kTiles>
  void multiply_tiles(const uint8_t* const* tiles, int64_t head, float* out) {
    const float* unit[kTiles];
    for (int tile = 0; tile < kTiles; ++tile) {
      unit[tile] = reinterpret_cast<const float*>(tiles[tile] + latent_.code_bytes());
    }
    for (int64_t row = 0; row < parts_.rows(); row += kRowBlock) {
      const int64_t index = head * parts_.rows() + row;
      part_scores<kTiles, false, false>(tiles, nullptr, unit, parts_.codes + index * latent_.rank, parts_.unit + index,
                                        parts_.start + index, latent_.rank / 4, out + row * kSpan, kSpan);
    }
  }

  // The rotary key is the same for all heads, and stays as it is rounded.
  void put_key(const uint8_t* source, int64_t tile) {
    uint8_t* out = tiles_ + tile * shape_.tile_bytes();
    float* units = reinterpret_cast<float*>(out + shape_.code_bytes());
    round_columns(numbers_ + tile % kSpanTiles * kTile, parts_.nope, codes_, units);
    for (int64_t i = 0; i < parts_.nope; i += 4) put_four_rows(codes_ + i * kTile, out + i * kTile);
    std::memcpy(out + parts_.nope * kTile, source + latent_.rank * kTile, latent_.rope * kTile);
    std::memcpy(units + kTile, source + latent_.code_bytes() + kTile * sizeof(float), kTile * sizeof(float));
  }

  void put_value(int64_t tile) {
    const int64_t index = tile % kSpanTiles;
    uint8_t* out = values_ + tile / kSpanTiles * value_bytes(parts_.values());
    round_columns(numbers_ + parts_.nope * kSpan + index * kTile, parts_.values(), codes_, value_unit_ + tile * kTile);
    for (int64_t i = 0; i < parts_.values() / 16; ++i) put_sixteen_rows(codes_ + i * 16 * kTile, i, index, out);
  }

  const LatentExpansion& parts_;
  KeyShape latent_, shape_;
  uint8_t* tiles_;
  uint8_t* values_;
  float* value_unit_;
  float* numbers_;
  int8_t* codes_;
};

}  // namespace deepseek::ISA
