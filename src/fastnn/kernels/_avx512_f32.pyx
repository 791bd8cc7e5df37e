# The float32 kernels for avx512.
include "module.pxi"
