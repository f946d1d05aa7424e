#include "kernels/reference/kda_chunked.h"

#include <algorithm>
#include <vector>

namespace kl::reference {
namespace {

/// Row-major matrix.
template <class Real>
struct Matrix {
  std::ptrdiff_t columns;
  std::vector<Real> data;

  /// Zeros.
  Matrix(std::ptrdiff_t rows, std::ptrdiff_t cols) : columns(cols), data(static_cast<std::size_t>(rows * cols)) {}
  /// Row `row`.
  Real* operator[](std::ptrdiff_t row) { return data.data() + row * columns; }
};

/// sum a[i] b[i]
template <class Real>
Real dot(const Real* a, const Real* b, std::ptrdiff_t n) {
  Real sum = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// What a chunk is before it meets the state.
template <class Real>
struct Chunk {
  Matrix<Real> D;      // [C, K] decay of the old state up to each token
  Matrix<Real> B, X;   // [C, C] of (2) and (4)
  Matrix<Real> k_end;  // [C, K] k_j * d(j,C)
  Matrix<Real> Y, Z;   // [C, K], [C, V] of (3)

  /// Tokens [first, first + C) of x.
  Chunk(const KdaTokens<Real>& x, std::ptrdiff_t first, std::ptrdiff_t C)
      : D(C, x.K), B(C, C), X(C, C), k_end(C, x.K), Y(C, x.K), Z(C, x.V) {
    decay(x, first, C);
    meet(x, first, C);
    solve(x, first, C);
  }

 private:
  /// D_i = alpha_1 * .. * alpha_i.
  void decay(const KdaTokens<Real>& x, std::ptrdiff_t first, std::ptrdiff_t C) {
    for (std::ptrdiff_t i = 0; i < C; ++i) {
      for (std::ptrdiff_t c = 0; c < x.K; ++c) D[i][c] = (i ? D[i - 1][c] : 1) * x.alpha[(first + i) * x.K + c];
    }
  }

  /// B and X.  The key of token j is decayed one token at a time and met by the k and q of every later token on its
  /// way; what is left of it at the end of the chunk is k_end.
  void meet(const KdaTokens<Real>& x, std::ptrdiff_t first, std::ptrdiff_t C) {
    for (std::ptrdiff_t j = 0; j < C; ++j) {
      std::copy_n(x.k + (first + j) * x.K, x.K, k_end[j]);
      for (std::ptrdiff_t i = j; i < C; ++i) {
        const std::ptrdiff_t t = first + i;
        for (std::ptrdiff_t c = 0; c < x.K && i > j; ++c) k_end[j][c] *= x.alpha[t * x.K + c];
        B[i][j] = i > j ? x.beta[t] * dot(x.k + t * x.K, k_end[j], x.K) : 0;
        X[i][j] = dot(x.q + t * x.K, k_end[j], x.K);
      }
    }
  }

  /// (I + B) Y = diag(beta) (K * D) and (I + B) Z = diag(beta) V, row by row.
  void solve(const KdaTokens<Real>& x, std::ptrdiff_t first, std::ptrdiff_t C) {
    for (std::ptrdiff_t i = 0; i < C; ++i) {
      const std::ptrdiff_t t = first + i;
      for (std::ptrdiff_t c = 0; c < x.K; ++c) {
        Y[i][c] = x.beta[t] * x.k[t * x.K + c] * D[i][c];
        for (std::ptrdiff_t j = 0; j < i; ++j) Y[i][c] -= B[i][j] * Y[j][c];
      }
      for (std::ptrdiff_t c = 0; c < x.V; ++c) {
        Z[i][c] = x.beta[t] * x.v[t * x.V + c];
        for (std::ptrdiff_t j = 0; j < i; ++j) Z[i][c] -= B[i][j] * Z[j][c];
      }
    }
  }
};

}  // namespace

template <class Real>
void kda_recurrent(const KdaTokens<Real>& x, Real* S, Real* o) {
  std::vector<Real> u(static_cast<std::size_t>(x.V));
  for (std::ptrdiff_t t = 0; t < x.T; ++t) {
    const Real *q = x.q + t * x.K, *k = x.k + t * x.K, *v = x.v + t * x.V, *alpha = x.alpha + t * x.K;
    for (std::ptrdiff_t i = 0; i < x.K * x.V; ++i) S[i] *= alpha[i / x.V];
    for (std::ptrdiff_t j = 0; j < x.V; ++j) {
      Real found = 0;
      for (std::ptrdiff_t i = 0; i < x.K; ++i) found += S[i * x.V + j] * k[i];
      u[static_cast<std::size_t>(j)] = x.beta[t] * (v[j] - found);
    }
    for (std::ptrdiff_t j = 0; j < x.V; ++j) {
      Real read = 0;
      for (std::ptrdiff_t i = 0; i < x.K; ++i) {
        S[i * x.V + j] += k[i] * u[static_cast<std::size_t>(j)];
        read += S[i * x.V + j] * q[i];
      }
      o[t * x.V + j] = read;
    }
  }
}

template <class Real>
void kda_chunked(const KdaTokens<Real>& x, std::ptrdiff_t chunk_length, Real* S, Real* o) {
  for (std::ptrdiff_t first = 0; first < x.T; first += chunk_length) {
    const std::ptrdiff_t C = std::min(chunk_length, x.T - first);
    Chunk<Real> chunk(x, first, C);
    Matrix<Real> u(C, x.V);
    for (std::ptrdiff_t i = 0; i < C; ++i) {
      const Real* q_i = x.q + (first + i) * x.K;
      for (std::ptrdiff_t j = 0; j < x.V; ++j) {
        u[i][j] = chunk.Z[i][j];
        for (std::ptrdiff_t c = 0; c < x.K; ++c) u[i][j] -= chunk.Y[i][c] * S[c * x.V + j];  // (3)
        Real read = 0;
        for (std::ptrdiff_t c = 0; c < x.K; ++c) read += q_i[c] * chunk.D[i][c] * S[c * x.V + j];
        for (std::ptrdiff_t m = 0; m <= i; ++m) read += chunk.X[i][m] * u[m][j];  // (4)
        o[(first + i) * x.V + j] = read;
      }
    }
    for (std::ptrdiff_t c = 0; c < x.K; ++c) {
      for (std::ptrdiff_t j = 0; j < x.V; ++j) {
        Real& s = S[c * x.V + j];
        s *= chunk.D[C - 1][c];
        for (std::ptrdiff_t m = 0; m < C; ++m) s += chunk.k_end[m][c] * u[m][j];  // (5)
      }
    }
  }
}

template void kda_recurrent(const KdaTokens<float>&, float*, float*);
template void kda_recurrent(const KdaTokens<double>&, double*, double*);
template void kda_chunked(const KdaTokens<float>&, std::ptrdiff_t, float*, float*);
template void kda_chunked(const KdaTokens<double>&, std::ptrdiff_t, double*, double*);

}  // namespace kl::reference
