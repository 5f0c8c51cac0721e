// SPDX-License-Identifier: Apache-2.0
//
// What the kernels cost, as ratios within this process: variants take turns, medians count, and the
// machine's own limits are measured beside them. The rows go to build/reports/kernels.json and
// kernels.html; each is a benchmark, so --benchmark_filter chooses.
//
// Hot is one layer, again and again; cold is layers in rotation through 160 MB. One thread, CPU
// time.
#include <benchmark/benchmark.h>

#include <barrier>
#include <ctime>
#include <fstream>
#include <initializer_list>
#include <string>
#include <thread>

#include "kernels/against_ggml.hpp"
#include "kernels/arena.hpp"
#include "kernels/decoding.hpp"
#include "kernels/head_sizes.hpp"
#include "kernels/limits.hpp"
#include "kernels/machine.hpp"
#include "kernels/page.hpp"
#include "kernels/peers.hpp"
#include "kernels/pooled_sequences.hpp"
#include "kernels/prompts.hpp"
#include "kernels/quantised.hpp"
#include "kernels/report.hpp"
#include "kernels/tiered_steps.hpp"
#include "kernels/whole_steps.hpp"
#include "morphkv/attention/prefill.hpp"
#include "morphkv/cache/owned_storage.hpp"
#include "morphkv/cache/shared_storage.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/kernels/top_k.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/random.hpp"
#include "morphkv/policy/recommended.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"

namespace morphkv::bench { namespace {

using Sizes = std::initializer_list<std::size_t>;

std::string case_name(const char* type, std::size_t slots, bool cold) {
  return std::string(type) + ", N = " + std::to_string(slots) + (cold ? ", cold" : ", hot");
}

/// What this machine can do, measured when first asked for.
struct Limits {
  double memory = 0;  ///< bytes a second
  double brain_flops = 0;
  double float_flops = 0;
};
Limits& limits() {
  static Limits measured;
  return measured;
}

void measure_limits(benchmark::State& state) {
  for (auto _ : state) {
    const HugeBuffer<char> memory(std::size_t{256} << 20U);
    for (const std::size_t kilobytes : Sizes{16, 256, 8192, 262144}) {
      const double rate = read_bandwidth(memory, kilobytes << 10U);
      inform_of_machine("read bandwidth, working set of " + std::to_string(kilobytes) + " KB",
                        rate / 1e9, "GB/s");
      limits().memory = rate;
    }
    limits().float_flops = peak_flops(false);
    limits().brain_flops = peak_flops(true);
    inform_of_machine("peak of fused multiply-adds, float", limits().float_flops / 1e9, "GF/s");
    inform_of_machine("peak of what multiplies bfloat16", limits().brain_flops / 1e9, "GF/s");
  }
}

template <Scalar T>
void measure_attention(benchmark::State& state, std::size_t slots, bool cold) {
  for (auto _ : state) {
    const Layers<T> layers(slots, cold);
    std::size_t layer = 0;
    const auto next = [&] { return layer = (layer + 1) % layers.count(); };
    const Comparison times =
        compare(cold ? 101 : 61, {[&] { layers.attend(next()); },
                                  [&] {
                                    const std::size_t l = next();
                                    sink = read_all(layers.keys(l, 0), layers.layer_bytes() / 2);
                                    sink = read_all(layers.values(l, 0), layers.layer_bytes() / 2);
                                  }});
    const auto bytes = static_cast<double>(layers.layer_bytes());
    const double flops = 4.0 * kv_heads * group * head_dim * static_cast<double>(slots);
    const std::string name = case_name(type_name<T>(), slots, cold);
    state.counters["GB/s"] = bytes / times.time(0) / 1e9;
    const std::string limit = in_words(bytes / times.time(1) / 1e9, "GB/s read beside it; ") +
                              in_words(flops / times.time(0) / 1e9, "GF/s done");
    const double share = 100 * times.ratio(1);
    if (cold && slots == 2048 && sizeof(T) == 2) {
      at_least("attention, " + name + ": share of read bandwidth", share, 85, "%", limit);
    } else {
      inform("attention, " + name + ": share of read bandwidth", share, "%", limit);
    }
  }
}

/// Rows that do not lie in one piece: in pages of so many tokens in random order, or, with 0, those
/// of all heads side by side, [token][head][head_dim].
template <Scalar T>
void measure_layout(benchmark::State& state, std::size_t page_rows) {
  for (auto _ : state) {
    constexpr std::size_t slots = 2048;
    const Layers<T> layers(slots, true);
    const std::size_t heads = layers.count() * kv_heads;
    const std::size_t rows = page_rows == 0 ? 1 : page_rows;  // in a piece
    std::vector<std::int32_t> pages(heads * slots / rows);
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(9));
    std::size_t whole = 0;
    std::size_t in_pieces = 0;
    const auto next = [&](std::size_t& head) { return head = (head + 1) % heads; };
    const auto arguments = [&](std::size_t head) {
      auto a = layers.arguments(0, 0);
      if (page_rows == 0) {
        const std::size_t layer = head / kv_heads;
        a.keys.data = layers.keys(layer, 0) + head % kv_heads * head_dim;
        a.values.data = layers.values(layer, 0) + head % kv_heads * head_dim;
        a.keys.stride = a.values.stride = kv_heads * head_dim;
      } else {
        for (KvView<const T>* view : {&a.keys, &a.values}) {
          view->pages = pages.data() + head * slots / page_rows;
          view->page_rows = page_rows;
          view->page_stride = page_rows * head_dim;
        }
      }
      return a;
    };
    std::vector<const char*> pieces;
    const auto list_pieces = [&](const kernels::DecodeAttention<T>& a) {
      pieces.clear();
      for (const auto& all_rows : {a.keys, a.values}) {
        for (std::size_t t = 0; t < slots; t += rows) {
          pieces.push_back(reinterpret_cast<const char*>(all_rows[t]));
        }
      }
    };
    const Comparison times =
        compare(101, {[&] {
                        const std::size_t head = next(whole);
                        const auto a = layers.arguments(head / kv_heads, head % kv_heads);
                        if (!kernels::decode_attention(a)) std::abort();
                      },
                      [&] {
                        const auto a = arguments(next(in_pieces));
                        if (!kernels::decode_attention(a)) std::abort();
                      },
                      [&] { list_pieces(arguments(next(in_pieces))); },
                      [&] { sink = read_pieces(pieces, rows * head_dim * sizeof(T)); }});
    const double bytes = 2.0 * slots * head_dim * sizeof(T);
    state.counters["x"] = times.ratio(1);
    inform("attention, " + case_name(type_name<T>(), slots, true) + ", " +
               (page_rows == 0 ? "heads side by side"
                               : "pages of " + std::to_string(page_rows) + " tokens") +
               ": over rows in one piece",
           times.ratio(1), "x",
           in_words(bytes / times.time(1) / 1e9, "GB/s of ") +
               in_words(bytes / times.time(3) / 1e9, "GB/s read in such pieces"));
  }
}

template <Scalar T>
void measure_eviction(benchmark::State& state, std::size_t slots, std::size_t window, Fusion fusion,
                      bool cold) {
  for (auto _ : state) {
    const Layers<T> layers(slots, cold);
    Evictions<T> evictions(layers, window, fusion);
    // Rounds enough for every flip of the window to come once; plain and evicting steps alternate,
    // on layers that alternate too.
    std::size_t layer = 0;
    const auto next = [&] { return layer = (layer + 1) % layers.count(); };
    const std::size_t rounds =
        (std::max)(std::size_t{200}, (std::min)(std::size_t{1200}, window * layers.count() / 2));
    const Comparison times =
        compare(rounds, {[&] { layers.attend(next()); }, [&] { evictions.step(next()); }});
    const bool sum = fusion == Fusion::sum;
    const double cost = 100 * (times.ratio(1) - 1);
    // Bytes a slot: sum reads and writes 2 + 4, max 2 + 2 and reads 2 more, and flips 2 and 2.
    const double moved = sum ? 12 : 14;
    const double floor = 100 * moved / (2.0 * head_dim * sizeof(T));
    char limit[64];
    std::snprintf(limit, sizeof limit, "bytes moved %.1f %%; a step %.1f us", floor,
                  1e6 * times.time(1));
    const double target = slots < 2048 ? (cold ? 6 : 100) : (cold ? 4 : (sum ? 2 : 3));
    const std::string measure = std::string(sum ? "sum" : "max") + " eviction over attention, " +
                                case_name(type_name<T>(), slots, cold) +
                                ", R = " + std::to_string(window);
    state.counters["%"] = cost;
    if (target < 100) {
      at_most(measure, cost, target, "%", limit);
    } else {
      inform(measure, cost, "%", limit);
    }
  }
}

void measure_published(benchmark::State& state, std::size_t window, double target) {
  for (auto _ : state) {
    using T = Eigen::half;
    const Layers<T> layers(2048, false);
    Evictions<T> evictions(layers, window, Fusion::sum);
    Published<T> published(layers, window);
    const Comparison times = compare(15, {[&] { evictions.step(0); }, [&] { published.step(); }});
    state.counters["x"] = times.ratio(1);
    at_least("the published way over ours, half, N = 2048, R = " + std::to_string(window),
             times.ratio(1), target, "x", "");
  }
}

/// The votes of one token in all heads of a model, attention not counted. A head's maximum flips
/// once a window; heads flip at different steps, so that no token is slow.
void measure_flips(benchmark::State& state) {
  for (auto _ : state) {
    constexpr std::size_t heads = 32 * kv_heads;
    constexpr std::size_t slots = 2048;
    constexpr std::size_t window = 32;
    std::vector<MorphKV> policies;
    policies.reserve(heads);
    for (std::size_t head = 0; head < heads; ++head) {
      policies.emplace_back(
          MorphKV::Options{.capacity = slots, .window = window, .fusion = Fusion::max}, head);
    }
    std::mt19937 engine(6);
    std::uniform_real_distribution<float> weights(0, 2 / static_cast<float>(slots));
    std::vector<float> row(slots + window);
    for (float& weight : row) weight = weights(engine);
    // By place in the cycle of the flips, over many cycles: what remains is the algorithm's.
    std::vector<std::vector<double>> times(window);
    for (std::size_t token = 0; token < slots + 40 * window; ++token) {
      const double begin = seconds();
      for (MorphKV& policy : policies) {
        if (policy.place(static_cast<Position>(token)).status != Status::ok) std::abort();
        const std::span votes(row.data() + token % window, policy.size());
        if (policy.observe(votes) != Status::ok) std::abort();
      }
      if (token >= slots) times[token % window].push_back(seconds() - begin);
    }
    std::vector<double> places;
    for (const auto& place : times) places.push_back(median(place));
    const double worst = *std::max_element(places.begin(), places.end()) / median(places);
    state.counters["ratio"] = worst;
    at_most("max, votes of a token in 32 layers, N = 2048: slowest over median", worst, 1.05, "",
            "flips staggered over the heads");
  }
}

void measure_top_k(benchmark::State& state, std::size_t count) {
  for (auto _ : state) {
    std::mt19937 engine(4);
    std::lognormal_distribution<float> weights(-9, 1.5F);
    std::vector<std::uint32_t> pool((std::max)(4 * count, std::size_t{1} << 18U));
    for (std::uint32_t& key : pool) key = ranked_key(weights(engine));
    // Other scores at every call: the same ones again would train the branch predictor on them.
    std::size_t at = 0;
    const auto next = [&] {
      at = (at + 4099) % (pool.size() - count);
      return pool.data() + at;
    };
    const std::size_t wanted = count / 8;
    std::vector<std::uint32_t> order(count), indices(count);
    const std::size_t repeats = (std::size_t{1} << 19U) / count;
    const Comparison times = compare(
        41, {[&] {
               for (std::size_t r = 0; r < repeats; ++r) {
                 std::uint32_t* to = indices.data();
                 kernels::top_k(std::span<const std::uint32_t>(next(), count), wanted,
                                [&](std::uint32_t index) { *to++ = index; });
               }
             },
             [&] {
               const std::uint32_t* scores = next();
               std::iota(order.begin(), order.end(), 0U);
               std::nth_element(
                   order.begin(), order.begin() + static_cast<std::ptrdiff_t>(wanted), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
             }});
    const double gain = times.ratio(1) * static_cast<double>(repeats);
    state.counters["x"] = gain;
    inform("top-k, n = " + std::to_string(count) + ", k = n / 8, over std::nth_element", gain, "x",
           in_words(1e6 * times.time(0) / static_cast<double>(repeats), "us"));
  }
}

/// A whole prompt for one KV head of `heads` query heads.
template <Scalar T>
struct Prompt {
  Prompt(std::size_t tokens, std::size_t heads)
      : keys(tokens * head_dim),
        values(keys.size()),
        queries(tokens * heads * head_dim),
        outputs(queries.size()) {
    const Numbers numbers;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      keys[i] = static_cast<T>(numbers[7 * i]);
      values[i] = static_cast<T>(numbers[13 * i + 5]);
    }
    for (std::size_t i = 0; i < queries.size(); ++i) queries[i] = static_cast<T>(numbers[3 * i]);
    head.tokens = tokens;
    head.block_queries = queries.data();
    head.block_keys = keys.data();
    head.block_values = values.data();
    head.block_outputs = outputs.data();
    head.query_stride = heads * head_dim;
    head.key_stride = head_dim;
    head.group = heads;
    head.head_dim = head_dim;
    head.logits.scale = 1 / std::sqrt(static_cast<float>(head_dim));
  }

  HugeBuffer<T> keys, values, queries, outputs;
  PrefillHead<T, T> head;
};

/// The outputs of a prompt against one decode step per query: what reading keys and values once for
/// many queries is worth.
template <Scalar T>
void measure_prefill(benchmark::State& state, std::size_t tokens, std::size_t heads) {
  for (auto _ : state) {
    const Prompt<T> prompt(tokens, heads);
    std::vector<float> query(heads * head_dim), output(query.size()), weights(heads * tokens);
    kernels::DecodeAttention<T> step;
    step.query = query.data();
    step.keys = {prompt.keys.data(), head_dim};
    step.values = {prompt.values.data(), head_dim};
    step.group = heads;
    step.head_dim = head_dim;
    step.logits.scale = prompt.head.logits.scale;
    step.weights = weights.data();
    step.weight_stride = tokens;
    step.output = output.data();
    const Comparison times =
        compare(3, {[&] {
                      PrefillAttention<T, T> prefill(prompt.head);
                      if (prefill.finish_outputs() != Status::ok) std::abort();
                    },
                    [&] {
                      for (step.tokens = 1; step.tokens <= tokens; ++step.tokens) {
                        const T* from = prompt.queries.data() + (step.tokens - 1) * query.size();
                        kernels::convert(from, query.size(), query.data());
                        if (!kernels::decode_attention(step)) std::abort();
                      }
                    }});
    const auto n = static_cast<double>(tokens);
    const double done = 2.0 * static_cast<double>(heads) * head_dim * n * (n + 1) / times.time(0);
    const std::string name = std::string("prefill, ") + type_name<T>() + ", " +
                             std::to_string(tokens) + " tokens, " + std::to_string(heads) +
                             " query heads: ";
    state.counters["tokens/s"] = n / times.time(0);
    inform(name + "over a decode step per query", times.ratio(1), "x",
           in_words(done / 1e9, "GF/s of ") +
               in_words(peak_flops(std::same_as<T, Eigen::bfloat16>) / 1e9, "GF/s"));
    inform(name + "tokens per second and KV head", n / times.time(0), "1/s");
  }
}

/// A prompt under each policy over one under StreamingLLM, which takes no rows: where all queries
/// vote, and where those of a window do.
template <Scalar T>
void measure_prompt_votes(benchmark::State& state, std::size_t tokens) {
  for (auto _ : state) {
    arena.reset();
    constexpr std::size_t slots = 2048;
    const PromptInputs<T> prompt(tokens);
    struct Variant {
      const char* name;
      double target;
      std::function<void()> read;
    };
    const std::vector<Variant> variants = {
        {"recommended", 1.5, read_prompt<DecayedMax>(prompt, recommended(slots))},
        {"H2O", 1.5, read_prompt<H2O>(prompt, {.heavy = slots / 2, .recent = slots / 2})},
        {"MorphKV", 1.1, read_prompt<MorphKV>(prompt, {.capacity = slots})},
        {"SnapKV", 1.1, read_prompt<SnapKV>(prompt, {.capacity = slots})},
        {"TOVA", 1.1, read_prompt<TOVA>(prompt, {.capacity = slots})}};
    std::vector<std::function<void()>> reads = {
        read_prompt<StreamingLLM>(prompt, {.capacity = slots})};
    for (const Variant& variant : variants) reads.push_back(variant.read);
    const Comparison times = compare(5, reads);
    state.counters["x"] = times.ratio(1);
    for (std::size_t i = 0; i < variants.size(); ++i) {
      at_most(std::string("prompt, ") + type_name<T>() + ", " + std::to_string(tokens) +
                  " tokens, with outputs, over StreamingLLM: " + variants[i].name,
              times.ratio(i + 1), variants[i].target, "x",
              in_words(1e3 * times.time(i + 1), "ms of ") +
                  in_words(1e3 * times.time(0), "ms, one KV head"));
    }
  }
}

/// The rows of a prompt alone, as an engine asks for them that has its own attention and gives the
/// log-sum-exp.
template <Scalar T>
void measure_prompt_rows(benchmark::State& state, std::size_t tokens) {
  for (auto _ : state) {
    const Prompt<T> prompt(tokens, group);
    PrefillHead<T, T> head = prompt.head;
    head.block_outputs = nullptr;
    const std::vector<float> logarithms(tokens * group, 10.0F);
    std::vector<float> row(tokens);
    const auto read_rows = [&] {
      PrefillAttention<T, T> attention(head);
      for (std::size_t query = 0; query < tokens; ++query) {
        if (attention.rows().fused(query, row.data()) != Status::ok) std::abort();
      }
    };
    const Comparison times = compare(3, {[&] {
                                           head.block_log_sum_exp = logarithms.data();
                                           read_rows();
                                         },
                                         [&] {
                                           head.block_log_sum_exp = nullptr;
                                           read_rows();
                                         }});
    const auto n = static_cast<double>(tokens);
    const double flops = static_cast<double>(group * head_dim) * n * (n + 1);
    const double peak = peak_flops(std::same_as<T, Eigen::bfloat16>);  // the clock changes
    if (peak == 0) return;
    for (const bool given : {true, false}) {
      const double done = flops / times.time(given ? 0 : 1);
      at_least(std::string("prompt rows, ") + type_name<T>() + ", " + std::to_string(tokens) +
                   " tokens, " + (given ? "with" : "without") + " log-sum-exp: share of peak",
               100 * done / peak, given ? 70 : 60, "%",
               in_words(done / 1e9, "GF/s of ") + in_words(peak / 1e9, "GF/s"));
    }
  }
}

/// Whole steps of a cache under a policy over those under StreamingLLM, which takes no rows.
template <class Policy, class Storage, class... Arguments>
void measure_whole_steps(benchmark::State& state, const std::string& name, const CacheShape& shape,
                         std::size_t slots, double target, const typename Policy::Options& options,
                         const Arguments&... arguments) {
  for (auto _ : state) {
    arena.reset();
    using T = Eigen::half;
    const Comparison times = compare(
        31, {whole_steps<KVCache<T, StreamingLLM>>(shape, slots,
                                                   StreamingLLM::Options{.capacity = slots}),
             whole_steps<KVCache<T, Policy, Storage>>(shape, slots, options, arguments...)});
    const auto layers = static_cast<double>(shape.layers);
    const double cost = 100 * (times.ratio(1) - 1);
    state.counters["%"] = cost;
    at_most("whole step over StreamingLLM, half, N = " + std::to_string(slots) +
                ", d = " + std::to_string(shape.head_dim) + ", group " +
                std::to_string(shape.group()) + ": " + name,
            cost, target, "%",
            in_words(1e6 * times.time(1) / layers, "us of ") +
                in_words(1e6 * times.time(0) / layers, "us per layer"));
  }
}

/// Whole steps over the pages of a pool, over those of a cache that owns its memory.
void measure_pool_steps(benchmark::State& state, const CacheShape& shape, std::size_t slots) {
  for (auto _ : state) {
    arena.reset();
    using T = Eigen::half;
    const auto options = recommended(slots);
    const auto pooled = [&](std::size_t page_size) {
      return steps_of(PooledSequence<T, DecayedMax>::make(shape, slots, page_size, options), slots);
    };
    const Comparison times = compare(
        61, {whole_steps<KVCache<T, DecayedMax>>(shape, slots, options), pooled(64), pooled(16)});
    for (const std::size_t variant : {1U, 2U}) {
      at_most("whole step over one in memory of its own, half, N = " + std::to_string(slots) +
                  ", d = " + std::to_string(shape.head_dim) + ": pool, pages of " +
                  (variant == 1 ? "64" : "16"),
              times.ratio(variant), variant == 1 ? 1.1 : 1.2, "times",
              in_words(1e3 * times.time(variant), "ms of ") +
                  in_words(1e3 * times.time(0), "ms per step"));
    }
  }
}

/// A fork in a pool, over a copy of keys and values into memory that is there already.
void measure_fork(benchmark::State& state, std::size_t page_size) {
  for (auto _ : state) {
    arena.reset();
    using T = Eigen::half;
    constexpr CacheShape shape{.layers = 20, .query_heads = 32, .kv_heads = 8, .head_dim = 128};
    constexpr std::size_t slots = 2048;
    const auto options = recommended(slots);
    const auto origin = PooledSequence<T, DecayedMax>::make(shape, slots, page_size, options);
    (void)steps_of(origin, slots);
    CopyingSequence<T, DecayedMax> from(shape, slots, options);
    CopyingSequence<T, DecayedMax> to(shape, slots, options);
    (void)steps_of(std::shared_ptr<typename CopyingSequence<T, DecayedMax>::Cache>(
                       std::shared_ptr<void>(), &from.cache()),
                   slots);
    const Comparison times = compare(31, {[&] { to.cache().copy_from(from.cache()); },
                                          [&] {
                                            const auto fork = *origin;
                                            sink = fork.size(0, 0);
                                          }});
    at_most("fork of 20 layers, half, N = 2048, pages of " + std::to_string(page_size) +
                ", over a copy",
            times.ratio(1), 0.2, "times",
            in_words(1e3 * times.time(1), "ms of ") + in_words(1e3 * times.time(0), "ms"));
  }
}

/// What others offer for the same work, on floats: products of matrices, and a softmax between.
void measure_peers_decode(benchmark::State& state) {
  for (auto _ : state) {
    constexpr std::size_t slots = 2048;
    const Layers<float> layers(slots, true);
    PeerProblem problem{.rows = group, .tokens = slots, .head_dim = head_dim};
    const HugeBuffer<float> weights(group * slots), outputs(group * head_dim);
    problem.weights = weights.data();
    problem.outputs = outputs.data();
    std::size_t layer = 0;
    const auto next = [&] { return layer = (layer + 1) % layers.count(); };
    for (const Peer& peer : peers()) {
      const Comparison times = compare(41, {[&] { layers.attend(next()); },
                                            [&] {
                                              const std::size_t l = next();
                                              for (std::size_t head = 0; head < kv_heads; ++head) {
                                                const auto a = layers.arguments(l, head);
                                                problem.queries = a.query;
                                                problem.keys = a.keys.data;
                                                problem.values = a.values.data;
                                                peer.attend(problem);
                                              }
                                            }});
      inform("attention, float, N = 2048, cold: " + peer.name + " over ours", times.ratio(1), "x",
             in_words(1e6 * times.time(1), "us a layer"));
    }
  }
}

/// How much sooner two threads are through with the heads of a layer than one is, where
/// work(thread, layer, heads) returns its time. CPU time: it counts the memory that the two contend
/// for, and not what other programs take of the cores.
template <class Work>
double gain_of_two_threads(std::size_t layers, const Work& work) {
  std::vector<double> gains;
  std::size_t layer = 0;
  for (int round = 0; round < 60; ++round) {
    layer = (layer + 1) % layers;
    const double alone = work(0, layer, kv_heads);
    layer = (layer + 1) % layers;
    double times[2] = {};
    std::barrier start(2);
    std::thread helper([&] {
      start.arrive_and_wait();
      times[1] = work(1, layer, kv_heads / 2);
    });
    start.arrive_and_wait();
    times[0] = work(0, layer, kv_heads / 2);
    helper.join();
    gains.push_back(alone / (std::max)(times[0], times[1]));
  }
  return median(gains);
}

void measure_threads(benchmark::State& state) {
  for (auto _ : state) {
    using T = Eigen::half;
    const Layers<T> layers[] = {{2048, true}, {2048, true}};  // each thread its own
    Evictions<T> evictions[] = {{layers[0], 32, Fusion::sum}, {layers[1], 32, Fusion::sum}};
    const double gain = gain_of_two_threads(layers[0].count(),
                                            [&](int thread, std::size_t layer, std::size_t heads) {
                                              const double begin = seconds();
                                              evictions[thread].step(layer, heads);
                                              return seconds() - begin;
                                            });
    (void)read_all(layers[0].keys(0, 0), 64);  // finds out how, once
    const double reading = gain_of_two_threads(
        layers[0].count(), [&](int thread, std::size_t layer, std::size_t heads) {
          const std::size_t bytes = heads * layers[thread].layer_bytes() / kv_heads / 2;
          [[maybe_unused]] volatile std::uint64_t some = 0;  // the other thread has its own
          const double begin = seconds();
          some = read_all(layers[thread].keys(layer, 0), bytes);
          some = read_all(layers[thread].values(layer, 0), bytes);
          return seconds() - begin;
        });
    state.counters["x"] = gain;
    at_least("two threads over one, half, N = 2048, cold, sum eviction", gain, 1.9, "x",
             in_words(reading, "x, a loop that only reads"));
  }
}

void measure_long_response(benchmark::State& state) {
  for (auto _ : state) {
    using T = Eigen::half;
    const Layers<T> layers(512, false);
    Evictions<T> evictions(layers, 32, Fusion::sum);
    std::vector<double> early, late;
    for (std::size_t token = 0; token < 100'000; ++token) {
      const double begin = seconds();
      evictions.step(0, 1);
      const double time = seconds() - begin;
      if (token >= 1'000 && token < 11'000) early.push_back(time);
      if (token >= 90'000) late.push_back(time);
    }
    const double growth = 100 * (median(late) / median(early) - 1);
    state.counters["%"] = growth;
    at_most("cost a token, tokens 90,000 to 100,000 over 1,000 to 11,000", growth, 3, "%", "flat");
  }
}

Setting here_and_now() {
  Setting setting;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; setting.cpu.empty() && std::getline(file, line);) {
    if (line.starts_with("model name")) setting.cpu = line.substr(line.find(':') + 2);
  }
  if (setting.cpu.empty()) setting.cpu = "unknown CPU";
  setting.kernels = kernels::to_string(kernels::active_isa());
  const std::time_t now = std::time(nullptr);
  char date[16];
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  setting.date = date;
  return setting;
}

template <class Function, class... Arguments>
void add(const std::string& name, Function function, Arguments... arguments) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) { function(state, arguments...); })
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
}

template <Scalar T>
void add_decoding() {
  const std::string type = type_name<T>();
  for (const bool cold : {true, false}) {
    for (const std::size_t slots : Sizes{512, 2048, 8192}) {
      add("attention/" + case_name(type_name<T>(), slots, cold), measure_attention<T>, slots, cold);
    }
  }
  for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
    for (const bool cold : {true, false}) {
      for (const std::size_t slots : Sizes{512, 2048, 8192}) {
        for (const std::size_t window : Sizes{32, 200}) {
          if (sizeof(T) == 4 && (slots != 2048 || window != 32)) continue;
          add("eviction/" + case_name(type_name<T>(), slots, cold) +
                  "/R=" + std::to_string(window) + (fusion == Fusion::sum ? "/sum" : "/max"),
              measure_eviction<T>, slots, window, fusion, cold);
        }
      }
    }
  }
}

/// Each policy as the docs recommend it: cold with the heads of an 8B model; with those of SmolLM2,
/// whose 30 layers stay in a cache.
void add_whole_steps(bool large) {
  const std::size_t n = large ? 2048 : 512;
  const CacheShape shape =
      large ? CacheShape{.layers = 20, .query_heads = 32, .kv_heads = 8, .head_dim = 128}
            : CacheShape{.layers = 30, .query_heads = 9, .kv_heads = 3, .head_dim = 64};
  const auto add_policy = [&]<class Policy, class Storage = OwnedStorage<Eigen::half>>(
      const std::string& name, double target, const typename Policy::Options& options,
      const auto&... arguments) {
    add(std::string("whole_steps/") + (large ? "large/" : "small/") + name,
        measure_whole_steps<Policy, Storage, std::decay_t<decltype(arguments)>...>, name, shape, n,
        target, options, arguments...);
  };
  const double target = large ? 4 : 8;
  add_policy.operator()<DecayedMax>("recommended", target, recommended(n));
  add_policy.operator()<DecayedMax>("recommended_for_prompts", target,
                                    recommended_for_prompts(n, 256));
  add_policy.operator()<MorphKV>("MorphKV sum, R = 32", target,
                                 {.capacity = n, .window = 32, .fusion = Fusion::sum});
  add_policy.operator()<MorphKV>("MorphKV max, R = 32", target,
                                 {.capacity = n, .window = 32, .fusion = Fusion::max});
  add_policy.operator()<MorphKV>(
      "MorphKV max, R = N / 2, 8 panes", target,
      {.capacity = n, .window = n / 2, .fusion = Fusion::max, .panes = 8});
  add_policy.operator()<H2O>("H2O", target, {.heavy = n / 2, .recent = n / 2});
  add_policy.operator()<TOVA>("TOVA", target, {.capacity = n});
  add_policy.operator()<Random>("Random", target, {.capacity = n, .recent = n / 2});
  add_policy.operator()<DecayedMax, SharedStorage<Eigen::half>>(
      "recommended, shared slots", large ? 8 : 15, recommended(n), SharedBudget{});
  add(std::string("pool/step/") + (large ? "large" : "small"), measure_pool_steps, shape, n);
}

void add_ggml() {
  if (ggml_name().empty()) {
    std::printf(
        "ggml was not found when this was built: left out (./run build llama gets it, or "
        "-DMORPHKV_LLAMA_CPP=<prefix>)\n");
    return;
  }
  add("ggml/decode/half", measure_ggml_decode<Eigen::half>);
  add("ggml/decode/q8_0", measure_ggml_decode<Q8_0>);
  add("ggml/block/half", measure_ggml_block<Eigen::half>, std::size_t{512}, std::size_t{4096});
  add("ggml/block/bfloat16", measure_ggml_block<Eigen::bfloat16>, std::size_t{512},
      std::size_t{4096});
}

void add_all() {
  add("limits", measure_limits);
  add_decoding<Eigen::half>();
  add_decoding<Eigen::bfloat16>();
  add_decoding<float>();
  for (const std::size_t page_rows : Sizes{64, 16, 1, 0}) {
    add("layout/half/page=" + std::to_string(page_rows), measure_layout<Eigen::half>, page_rows);
  }
  for (const bool cold : {true, false}) {
    const std::string where = cold ? "cold" : "hot";
    add("head_sizes/half/" + where, measure_head_sizes<Eigen::half>, cold);
    add("head_sizes/bfloat16/" + where, measure_head_sizes<Eigen::bfloat16>, cold);
  }
  for (const bool cold : {true, false}) {
    add(std::string("quantised/") + (cold ? "cold" : "hot"), measure_quantised, cold);
  }
  add("published/R=32", measure_published, std::size_t{32}, 8.0);
  add("published/R=200", measure_published, std::size_t{200}, 30.0);
  add("flips", measure_flips);
  for (const std::size_t count : Sizes{4096, 32768, 131072}) {
    add("top_k/" + std::to_string(count), measure_top_k, count);
  }
  for (const std::size_t heads : {std::size_t{1}, group}) {
    add("prefill/half/heads=" + std::to_string(heads), measure_prefill<Eigen::half>,
        std::size_t{4096}, heads);
    add("prefill/bfloat16/heads=" + std::to_string(heads), measure_prefill<Eigen::bfloat16>,
        std::size_t{4096}, heads);
  }
  add("prompt_votes/half", measure_prompt_votes<Eigen::half>, std::size_t{8192});
  add("prompt_votes/bfloat16", measure_prompt_votes<Eigen::bfloat16>, std::size_t{8192});
  add("prompt_rows/half", measure_prompt_rows<Eigen::half>, std::size_t{8192});
  add("prompt_rows/bfloat16", measure_prompt_rows<Eigen::bfloat16>, std::size_t{8192});
  add_whole_steps(true);
  add_whole_steps(false);
  add("whole_steps/tiers", measure_tiered_steps);
  for (const std::size_t page_size : {16U, 64U}) {
    add("pool/fork/" + std::to_string(page_size), measure_fork, page_size);
  }
  add("peers/decode", measure_peers_decode);
  add_ggml();
  add("two_threads", measure_threads);
  add("long_response", measure_long_response);
}

}  // namespace
}  // namespace morphkv::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  morphkv::bench::add_all();
  benchmark::RunSpecifiedBenchmarks();
  const morphkv::bench::Setting setting = morphkv::bench::here_and_now();
  std::printf("\n%s, kernels for %s, %s\n", setting.cpu.c_str(), setting.kernels.c_str(),
              setting.date.c_str());
  morphkv::bench::print_table();
  try {
    morphkv::bench::write_json(
        "build/reports/kernels.json",
        {{"cpu", setting.cpu}, {"kernels", setting.kernels}, {"date", setting.date}});
    morphkv::bench::write_page("build/reports/kernels.html", setting);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernels_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
