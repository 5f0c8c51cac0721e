// SPDX-License-Identifier: Apache-2.0
//
// Built for the CPU at hand, since Eigen chooses its instructions when it is compiled.
#include "kernels/peers.hpp"

#include <Eigen/Core>
#include <cmath>
#include <cstdio>

#if defined(MORPHKV_BENCH_OPENBLAS)
#include <cblas.h>
#endif
#if defined(MORPHKV_BENCH_ONEDNN)
#include <omp.h>

#include <map>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <tuple>
#endif

namespace morphkv::bench {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<const Matrix> matrix(const float* data, std::size_t rows, std::size_t columns) {
  return {data, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}
Eigen::Map<Matrix> matrix(float* data, std::size_t rows, std::size_t columns) {
  return {data, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}

float scale(const PeerProblem& p) { return 1 / std::sqrt(static_cast<float>(p.head_dim)); }

/// Softmax of every row, with Eigen's vectorised exp().
void softmax(const PeerProblem& p) {
  for (std::size_t r = 0; r < p.rows; ++r) {
    Eigen::Map<Eigen::ArrayXf> row(p.weights + r * p.tokens, static_cast<Eigen::Index>(p.tokens));
    row = (row - row.maxCoeff()).exp();
    row *= 1 / row.sum();
  }
}

/// A peer that multiplies matrices: weights = scale * queries . keys, and outputs = weights .
/// values.
Peer from_products(const std::string& name, void (*logits)(const PeerProblem&),
                   void (*outputs)(const PeerProblem&)) {
  const auto attend = [logits, outputs](const PeerProblem& p) {
    logits(p);
    softmax(p);
    outputs(p);
  };
  return {name, attend};
}

void eigen_logits(const PeerProblem& p) {
  const Matrix queries = scale(p) * matrix(p.queries, p.rows, p.head_dim);
  matrix(p.weights, p.rows, p.tokens).noalias() =
      queries * matrix(p.keys, p.tokens, p.head_dim).transpose();
}
void eigen_outputs(const PeerProblem& p) {
  matrix(p.outputs, p.rows, p.head_dim).noalias() =
      matrix(p.weights, p.rows, p.tokens) * matrix(p.values, p.tokens, p.head_dim);
}
Peer eigen() {
  return from_products("Eigen " + std::to_string(EIGEN_WORLD_VERSION) + '.' +
                           std::to_string(EIGEN_MAJOR_VERSION) + '.' +
                           std::to_string(EIGEN_MINOR_VERSION),
                       eigen_logits, eigen_outputs);
}

#if defined(MORPHKV_BENCH_OPENBLAS)
void blas_logits(const PeerProblem& p) {
  const auto rows = static_cast<blasint>(p.rows), tokens = static_cast<blasint>(p.tokens),
             dim = static_cast<blasint>(p.head_dim);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, tokens, dim, scale(p), p.queries, dim,
              p.keys, dim, 0, p.weights, tokens);
}
void blas_outputs(const PeerProblem& p) {
  const auto rows = static_cast<blasint>(p.rows), tokens = static_cast<blasint>(p.tokens),
             dim = static_cast<blasint>(p.head_dim);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, dim, tokens, 1, p.weights, tokens,
              p.values, dim, 0, p.outputs, dim);
}
Peer openblas() {
  openblas_set_num_threads(1);
  return from_products(
      std::string("OpenBLAS ") + MORPHKV_BENCH_OPENBLAS + " (" + openblas_get_corename() + ')',
      blas_logits, blas_outputs);
}
#endif

#if defined(MORPHKV_BENCH_ONEDNN)
/// Products and softmax by oneDNN, made once a shape.
class OneDnn {
 public:
  void attend(const PeerProblem& p) {
    Steps& steps = steps_for(p);
    weigh(steps, p);
    steps.outputs.execute(stream_, {{DNNL_ARG_SRC, memory(steps.weights, p.weights)},
                                    {DNNL_ARG_WEIGHTS, memory(steps.values, p.values)},
                                    {DNNL_ARG_DST, memory(steps.rows, p.outputs)}});
    stream_.wait();
  }

 private:
  using Description = dnnl::memory::desc;
  struct Steps {
    Description rows, keys, values, weights;
    dnnl::matmul logits, outputs;
    dnnl::softmax_forward softmax;
  };

  [[nodiscard]] dnnl::memory memory(const Description& description, const float* data) {
    return {description, engine_, const_cast<float*>(data)};  // NOLINT: its memory knows no const
  }
  void weigh(Steps& steps, const PeerProblem& p) {
    const auto weights = memory(steps.weights, p.weights);
    steps.logits.execute(stream_, {{DNNL_ARG_SRC, memory(steps.rows, p.queries)},
                                   {DNNL_ARG_WEIGHTS, memory(steps.keys, p.keys)},
                                   {DNNL_ARG_DST, weights}});
    steps.softmax.execute(stream_, {{DNNL_ARG_SRC, weights}, {DNNL_ARG_DST, weights}});
  }
  Steps& steps_for(const PeerProblem& p) {
    const auto [found, is_new] = steps_.try_emplace({p.rows, p.tokens, p.head_dim});
    Steps& steps = found->second;
    if (!is_new) return steps;
    using Tag = dnnl::memory::format_tag;
    const auto plain = [](std::size_t m, std::size_t n, Tag tag) {
      return Description({static_cast<dnnl::memory::dim>(m), static_cast<dnnl::memory::dim>(n)},
                         dnnl::memory::data_type::f32, tag);
    };
    steps.rows = plain(p.rows, p.head_dim, Tag::ab);
    steps.keys = plain(p.head_dim, p.tokens, Tag::ba);
    steps.values = plain(p.tokens, p.head_dim, Tag::ab);
    steps.weights = plain(p.rows, p.tokens, Tag::ab);
    dnnl::primitive_attr scaled;
    scaled.set_output_scales(0, {scale(p)});
    steps.logits =
        dnnl::matmul({dnnl::matmul::desc(steps.rows, steps.keys, steps.weights), scaled, engine_});
    steps.softmax = dnnl::softmax_forward(
        {dnnl::softmax_forward::desc(dnnl::prop_kind::forward_inference, steps.weights, 1),
         engine_});
    steps.outputs =
        dnnl::matmul({dnnl::matmul::desc(steps.weights, steps.values, steps.rows), engine_});
    return steps;
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::map<std::tuple<std::size_t, std::size_t, std::size_t>, Steps> steps_;
};

Peer onednn() {
  omp_set_num_threads(1);
  const auto library = std::make_shared<OneDnn>();
  const dnnl_version_t* version = dnnl_version();
  return {"oneDNN " + std::to_string(version->major) + '.' + std::to_string(version->minor) + '.' +
              std::to_string(version->patch),
          [library](const PeerProblem& p) { library->attend(p); }};
}
#endif

}  // namespace

std::vector<Peer> peers() {
  std::vector<Peer> all = {eigen()};
#if defined(MORPHKV_BENCH_OPENBLAS)
  all.push_back(openblas());
#else
  std::printf("OpenBLAS was not found when this was built: left out\n");
#endif
#if defined(MORPHKV_BENCH_ONEDNN)
  all.push_back(onednn());
#else
  std::printf("oneDNN was not found when this was built: left out\n");
#endif
  return all;
}

}  // namespace morphkv::bench
