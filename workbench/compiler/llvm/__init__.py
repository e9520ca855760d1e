"""Target "llvm": kernels as machine code, made by LLVM through llvmlite."""
