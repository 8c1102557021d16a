"""C++ sources of the CPU kernels and, once built, their library (native_library.py loads it)."""
