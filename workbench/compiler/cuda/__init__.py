"""Target "cuda": kernels as CUDA C++, products by cuBLAS, a whole step as one CUDA graph."""

from workbench.compiler.cuda.executable import CudaExecutable
from workbench.compiler.cuda.source import cuda_source, program_text

__all__ = ["CudaExecutable", "cuda_source", "program_text"]
