"""What is left out of the comparison with PyTorch, and why."""

RULES = {
    "a mean of nothing": "the mean of no examples",
    "an index twice": "the same index twice in an assignment: which value stays is not defined",
    "axis of a number": "an axis of a 0-d tensor: PyTorch gives a number one axis, NumPy none",
    "border left out of a mean": "average pooling that leaves the border out of the mean",
    "descending order": "descending order: sort the negative, or flip",
    "dilated pooling": "dilated pooling",
    "dilated windows": "dilated windows of unfold",
    "divergence by elements": "a divergence whose elements are not summed",
    "divisor of a mean": "average pooling with a divisor of one's own",
    "dots summed over": "einsum that sums over the axes of ...: NumPy refuses it too",
    "dropout": "dropout: two generators cannot be compared",
    "dtype": "a result in another dtype: say astype",
    "dtypes mixed": "arguments of different dtypes, which we refuse",
    "empty matrix": "singular vectors of an empty matrix",
    "empty of another rank": "concatenation with PyTorch's (0,), which stands for nothing",
    "full bases": "full orthonormal bases, in which the added columns are arbitrary",
    "full likelihood": "a likelihood with its constants, or of a rate in place of its logarithm",
    "heads shared by queries": "attention whose heads are shared by queries",
    "indices of a pooled maximum": "pooling that also returns where each maximum was",
    "indices of another rank": "empty indices of another rank than x",
    "indices shorter than x": "indices shorter than x along other axes: NumPy broadcasts them",
    "labels of pixels": "class numbers for every pixel: reshape to (N, K) first",
    "maximum of nothing": "softmax or a norm over nothing: NumPy finds no maximum in it",
    "median of an even number": "a median of an even number of elements: PyTorch takes the "
    "lower of the two in the middle, NumPy their mean",
    "negative padding": "negative padding: slice",
    "no channels": "batch normalisation of a vector, which has no channels",
    "norm by singular values": "norms of matrices by their singular values: svdvals",
    "norm other than Euclid's": "normalisation by another norm than Euclid's",
    "one example without a batch": "one example without a batch: x[None]",
    "output padding as long as the stride": "output padding as long as the stride, which "
    "stands for no convolution: we refuse it",
    "padding by name": 'padding="same"',
    "padding row": "an embedding row that gets no gradient",
    "prepended": "differences with values put in front or behind: concatenate",
    "probabilities as labels": "probabilities in place of class numbers",
    "reduction": "a reduction other than the mean: ours is the mean",
    "rescaled rows": "an embedding that edits its rows, or scales their gradient",
    "rounding mode": "division that rounds: floor_divide",
    "rows to search in": "a sorted array for each row of values: NumPy searches in one",
    "running statistics of instances": "instance normalisation by running statistics",
    "scatter with a reduction": "scatter with a reduction",
    "scores added to attention's": "attention with scores added in place of a mask",
    "shapes of a loss": "shapes that differ in a loss, which we refuse",
    "smallest first": "the smallest elements: topk of the negative",
    "solve from the right": "x with x @ a = b: transpose",
    "sorter": "a sequence that is sorted only through its indices",
    "squeeze of a longer axis": "squeezing a longer axis: PyTorch leaves it, NumPy refuses",
    "swapped triplets": "triplets whose distances may be swapped",
    "tolerance of a rank": "a pseudo-inverse with a tolerance of one's own",
    "upper triangle": "the upper Cholesky factor: transpose",
    "vectors along several axes": "the norm of vectors that lie along several axes: reshape",
    "weights of classes": "classes with weights, or left out",
    "weights of elements": "a loss with weights, or with squared margins",
    "windows beyond the border": "pooling windows that reach beyond the border (ceil_mode)",
}
"""Samples that ask for an option we do not have: rule -> what it leaves out, and why."""

NOT_SHARED = {
    "complex numbers, which this era does not have": """
        angle cdouble cfloat chalf complex conj conj_physical imag isreal polar real resolve_conj
        resolve_neg view_as_complex view_as_real linalg.eig linalg.eigvals mH H istft stft
        fft.fft fft.fft2 fft.fftn fft.fftshift fft.hfft fft.hfft2 fft.hfftn fft.ifft fft.ifft2
        fft.ifftn fft.ifftshift fft.ihfft fft.ihfft2 fft.ihfftn fft.irfft fft.irfft2 fft.irfftn
        fft.rfft fft.rfft2 fft.rfftn
    """,
    "random numbers: two generators cannot be compared": """
        bernoulli cauchy exponential geometric log_normal multinomial normal rand_like randint
        randint_like randn randn_like uniform nn.functional.alpha_dropout
        nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d
        nn.functional.feature_alpha_dropout nn.functional.fractional_max_pool2d
        nn.functional.fractional_max_pool3d nn.functional.rrelu pca_lowrank svd_lowrank
        nn.functional.multi_head_attention_forward
    """,
    "constructors, which are NumPy's own": """
        arange broadcast_shapes empty empty_like empty_permuted empty_strided eye fill full
        full_like linspace logspace new_empty new_empty_strided new_full new_ones new_zeros ones
        ones_like scalar_tensor tril_indices triu_indices zero_ zeros zeros_like
        signal.windows.bartlett signal.windows.blackman signal.windows.cosine
        signal.windows.exponential signal.windows.gaussian signal.windows.general_cosine
        signal.windows.general_hamming signal.windows.hamming signal.windows.hann
        signal.windows.kaiser signal.windows.nuttall
    """,
    "integers only, with nothing to differentiate: NumPy's on x.data": """
        __rand__ __ror__ __rxor__ bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or
        bitwise_right_shift bitwise_xor gcd lcm nn.functional.one_hot unravel_index
    """,
    "tests and summaries with nothing to differentiate: NumPy's on x.data": """
        allclose equal hash_tensor histc histogram histogramdd isclose isin isneginf isposinf item
        nextafter nonzero_static frexp signbit unique unique_consecutive
    """,
    "memory layout, which NumPy's arrays do not show": """
        as_strided as_strided_copy as_strided_scatter contiguous resize_ resize_as_
    """,
    "conversions to dtypes that NumPy or this era does not have, or that do not fit": """
        bfloat16 byte char half to
    """,
    "another name of what is compared": """
        alias_copy cholesky cross diagonal_copy expand_copy linalg.cholesky_ex linalg.inv_ex
        linalg.solve_ex narrow_copy permute_copy pinverse split_with_sizes_copy squeeze_copy svd
        t_copy torch.ops.aten._safe_softmax.default transpose_copy trapz unbind_copy unfold_copy
        unsafe_chunk unsafe_split unsqueeze_copy view_copy
    """,
    "PyTorch's own inner steps": """
        _batch_norm_with_update _chunk_cat _native_batch_norm_legit _segment_reduce
        _softmax_backward_data _unsafe_masked_index _unsafe_masked_index_put_accumulate
        jiterator_2inputs_2outputs jiterator_4inputs_with_extra_args jiterator_binary
        jiterator_binary_return_by_ref jiterator_unary max_pool2d_with_indices_backward
        native_batch_norm native_dropout_backward native_group_norm native_layer_norm
        torch.ops.aten._efficient_attention_forward torch.ops.aten._flash_attention_forward
    """,
    "quantised or sparse tensors, which this era does not have": """
        sparse.mm sparse.sampled_addmm to_sparse torch._scaled_mm torch._scaled_mm_v2
    """,
    "masked tensors, an experiment of PyTorch's: where and masked_fill do it here": """
        masked.amax masked.amin masked.argmax masked.argmin masked.cumprod masked.cumsum
        masked.log_softmax masked.logaddexp masked.logsumexp masked.mean masked.median masked.norm
        masked.normalize masked.prod masked.softmax masked.softmin masked.std masked.sum masked.var
        masked_scatter
    """,
    "special functions beyond those that networks use": """
        digamma erfinv i0 igamma igammac lgamma mvlgamma polygamma special.airy_ai
        special.bessel_j0 special.bessel_j1 special.bessel_y0 special.bessel_y1
        special.chebyshev_polynomial_t special.chebyshev_polynomial_u
        special.chebyshev_polynomial_v special.chebyshev_polynomial_w special.entr special.erfcx
        special.hermite_polynomial_h special.hermite_polynomial_he special.i0e special.i1
        special.i1e special.laguerre_polynomial_l special.legendre_polynomial_p special.log_ndtr
        special.modified_bessel_i0 special.modified_bessel_i1 special.modified_bessel_k0
        special.modified_bessel_k1 special.ndtri special.polygamma
        special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1
        special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u
        special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w
        special.spherical_bessel_j0 special.zeta
    """,
    "decompositions, and solvers on them, that this era leaves out": """
        cholesky_inverse cholesky_solve geqrf linalg.cond linalg.householder_product
        linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve linalg.lstsq linalg.lu
        linalg.lu_factor linalg.lu_factor_ex linalg.lu_solve linalg.matrix_rank linalg.qr
        linalg.solve_triangular linalg.tensorinv linalg.tensorsolve lu lu_solve lu_unpack
        matrix_exp ormqr qr triangular_solve
    """,
    "three dimensions of pixels: convolution and pooling stop at two here": """
        nn.functional.adaptive_avg_pool3d nn.functional.adaptive_max_pool3d
        nn.functional.avg_pool3d nn.functional.conv3d nn.functional.conv_transpose3d
        nn.functional.max_pool3d nn.functional.max_unpool3d grid_sampler_3d
    """,
    "image operations that this era leaves out": """
        _upsample_bilinear2d_aa grid_sampler_2d nn.functional.adaptive_avg_pool1d
        nn.functional.adaptive_avg_pool2d
        nn.functional.adaptive_max_pool1d nn.functional.adaptive_max_pool2d
        nn.functional.channel_shuffle nn.functional.grid_sample nn.functional.interpolate
        nn.functional.local_response_norm nn.functional.max_unpool1d nn.functional.max_unpool2d
        nn.functional.pixel_shuffle nn.functional.pixel_unshuffle nn.functional.upsample_bilinear
        nn.functional.upsample_nearest
    """,
    "statistics and orders that this era leaves out": """
        kthvalue mode nanmean nanmedian nanquantile nansum quantile
    """,
    "numerical calculus and geometry: a few lines of slices and products": """
        cartesian_prod cdist combinations corrcoef cov cumulative_trapezoid dist gradient
        linalg.vander nn.functional.pairwise_distance nn.functional.pdist renorm trapezoid
    """,
    "rearrangements that are a line or two of ours": """
        atleast_3d block_diag broadcast_tensors column_stack diag_embed diagonal_scatter dstack
        index_reduce put rot90 scatter_reduce sum_to_size unfold
    """,
    "a line or two of where and arithmetic": """
        __rmod__ copysign float_power logdet nn.functional.bilinear nn.functional.hardshrink
        nn.functional.prelu nn.functional.softshrink
    """,
    "losses and bags that this era leaves out": """
        nn.functional.ctc_loss nn.functional.embedding_bag nn.functional.hinge_embedding_loss
        nn.functional.linear_cross_entropy nn.functional.margin_ranking_loss
        nn.functional.multilabel_margin_loss nn.functional.multilabel_soft_margin_loss
        nn.functional.triplet_margin_with_distance_loss
    """,
}
"""Operators that are not compared at all: reason -> their names in the database."""

NOT_THEIRS = {
    "whole recurrent layers: test_engine.py holds them against PyTorch's": """
        gru gru_cell lstm lstm_cell rnn rnn_cell
    """,
    "steps of other operations, compared through these": "col2im standardize",
    "integers only, with nothing to differentiate": "bitwise_and bitwise_or bitwise_xor invert",
    "what PyTorch has no operator for": """
        cbrt compress global_avg_pool hinge_loss ptp rint setitem to to_device
    """,
    "random numbers: two generators cannot be compared": "dropout",
}
"""Operations of ours that no operator of the database answers: reason -> names."""
