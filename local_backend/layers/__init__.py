"""Stateless operations of a decoder layer: shapes in, shapes out; parameters yes, request state no."""
