# The float32 kernels for avx2.
include "module.pxi"
