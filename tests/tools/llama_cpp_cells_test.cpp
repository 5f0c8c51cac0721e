// SPDX-License-Identifier: Apache-2.0
// What the adapter for llama.cpp does by itself: cells, fusion, and who copies what.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <vector>

#include "llama_cpp/cell_table.hpp"
#include "llama_cpp/row_fusion.hpp"
#include "llama_cpp/shared_cells.hpp"
#include "support/contenders.hpp"
#include "support/random.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::llama_cpp_cells_test { namespace {

using llama_cpp::Cell;
using llama_cpp::CellCopy;
using llama_cpp::CellTable;
using llama_cpp::HeadCounts;
using llama_cpp::Release;
using llama_cpp::RowFusion;
using llama_cpp::Scope;
using llama_cpp::SharedCells;

using Spare = std::vector<std::vector<Cell>>;

/// Cells 0, 1, ... hold the positions 0, 1, ...
CellTable filled(std::size_t cells, std::size_t used) {
  CellTable table(cells);
  for (Cell cell = 0; cell < used; ++cell) table.occupy(cell, static_cast<Position>(cell));
  return table;
}

TEST(LlamaCppCellTable, OneUnitFreesItsOwnCells) {
  CellTable table = filled(8, 5);
  const Release release = table.release(Spare{{3, 0}});
  EXPECT_TRUE(release.copies.empty());
  EXPECT_EQ(release.positions, (std::vector<Position>{3, 0}));
  EXPECT_EQ(table.in_use(), 3U);
  EXPECT_EQ(table.position(3), no_position);
  EXPECT_EQ(table.position(1), 1);
}

TEST(LlamaCppCellTable, NothingToSpareChangesNothing) {
  CellTable table = filled(8, 5);
  const Release release = table.release(Spare{{}, {}});
  EXPECT_TRUE(release.copies.empty());
  EXPECT_TRUE(release.positions.empty());
  EXPECT_EQ(table.in_use(), 5U);
}

TEST(LlamaCppCellTable, TheCellThatMostUnitsSpareGoesAndTheOthersCopyIt) {
  CellTable table = filled(8, 6);
  const Release release = table.release(Spare{{1}, {4}, {2}, {1}});
  EXPECT_EQ(release.positions, std::vector<Position>{1});
  ASSERT_EQ(release.copies.size(), 2U);
  EXPECT_EQ(release.copies[0].unit, 1U);
  EXPECT_EQ(release.copies[0].from, 1U);
  EXPECT_EQ(release.copies[0].to, 4U);
  EXPECT_EQ(release.copies[1].unit, 2U);
  EXPECT_EQ(release.copies[1].from, 1U);
  EXPECT_EQ(release.copies[1].to, 2U);
}

TEST(LlamaCppCellTable, TheNewestPositionStays) {
  CellTable table = filled(8, 5);
  const Release release = table.release(Spare{{4}});  // position 4 is where llama.cpp continues
  EXPECT_EQ(release.positions, std::vector<Position>{3});
  ASSERT_EQ(release.copies.size(), 1U);
  EXPECT_EQ(release.copies[0].from, 3U);
  EXPECT_EQ(release.copies[0].to, 4U);
  EXPECT_EQ(table.position(4), 4);
}

TEST(LlamaCppCellTable, AllOfThemMayGo) {
  CellTable table = filled(4, 2);
  const Release release = table.release(Spare{{0, 1}, {1, 0}});
  EXPECT_EQ(release.positions.size(), 2U);
  EXPECT_TRUE(release.copies.empty());
  EXPECT_EQ(table.in_use(), 0U);
  table.occupy(0, 7);
  EXPECT_EQ(table.in_use(), 1U);
}

TEST(LlamaCppCellTable, DisagreementIsAnError) {
  CellTable table = filled(8, 5);
  EXPECT_THROW(table.occupy(2, 9), std::logic_error);
  EXPECT_THROW(table.occupy(8, 9), std::logic_error);
  EXPECT_THROW((void)table.release(Spare{{1}, {2, 3}}), std::logic_error);
  EXPECT_EQ(table.in_use(), 5U);
}

/// A unit's row by the definition, in double.
double fused_by_hand(const std::vector<std::vector<float>>& layers, std::size_t query_heads,
                     std::size_t unit, std::size_t units, std::size_t index, GroupFusion fusion) {
  const std::size_t group = query_heads / units;
  const std::size_t rows = layers.front().size() / query_heads;  // of one head
  double result = 0;
  for (const std::vector<float>& weights : layers) {
    for (std::size_t head = unit * group; head < (unit + 1) * group; ++head) {
      const double weight = double{weights[head * rows + index]};
      result = fusion == GroupFusion::max ? std::max(result, weight) : result + weight;
    }
  }
  const auto count = static_cast<double>(group * layers.size());
  return fusion == GroupFusion::max ? result : result / count;
}

TEST(LlamaCppRowFusion, IsTheMeanOrTheMaximumOfAllHeadsOfAUnit) {
  constexpr std::size_t query_heads = 6;
  Random random(3);
  for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean, GroupFusion::sum}) {
    for (const std::size_t units : {1U, 2U, 3U, 6U}) {
      for (const std::size_t count : {1U, 2U, 5U}) {  // layers that share a unit
        RowFusion row_fusion(query_heads, units, count, fusion);
        for (const std::size_t tokens : {1U, 4U, 3U}) {
          const std::size_t columns = 7 + tokens;
          std::vector<std::vector<float>> layers(count);
          for (std::size_t layer = 0; layer < count; ++layer) {
            for (std::size_t i = 0; i < query_heads * tokens * columns; ++i) {
              layers[layer].push_back(draw_weight(Weights::grid, random));
            }
            EXPECT_EQ(row_fusion.add(layers[layer].data(), tokens, columns), layer + 1 == count);
          }
          for (std::size_t unit = 0; unit < units; ++unit) {
            for (std::size_t i = 0; i < tokens * columns; ++i) {
              const double expected = fused_by_hand(layers, query_heads, unit, units, i, fusion);
              // Weights are below 1/2, and are divided twice: two roundings of 2^-25.
              EXPECT_NEAR(double{row_fusion.rows(unit)[i]}, expected, 6e-8);
            }
          }
        }
      }
    }
  }
}

/// What llama.cpp does with its cells, with a position in place of each key and value.
class FakeCache {
 public:
  FakeCache(const HeadCounts& heads, std::size_t cells, std::uint64_t seed)
      : heads_(heads),
        names_(cells, no_position),
        contents_(heads.layers * heads.kv_heads, std::vector<Position>(cells, no_position)),
        random_(seed) {}

  /// Finds free cells for tokens from position `first` on. llama.cpp begins anywhere, too.
  std::vector<Cell> write(Position first, std::size_t tokens) {
    const Position newest = *std::max_element(names_.begin(), names_.end());
    EXPECT_TRUE(newest == no_position || newest == first - 1) << "llama.cpp refuses to go on";
    std::vector<Cell> cells;
    for (Cell cell = static_cast<Cell>(random_.below(names_.size())); cells.size() < tokens;
         cell = static_cast<Cell>((cell + 1) % names_.size())) {
      if (names_[cell] != no_position) continue;
      names_[cell] = first + static_cast<Position>(cells.size());
      for (auto& content : contents_) content[cell] = names_[cell];
      cells.push_back(cell);
    }
    return cells;
  }

  /// The attention of a layer: [query_heads][tokens][cells]. A weight is that of the position which
  /// a head finds in a cell; a cell that is masked has one that nobody may read.
  std::vector<float> attention(std::size_t layer, Position first, std::size_t tokens) {
    std::vector<float> weights;
    for (std::size_t head = 0; head < heads_.query_heads; ++head) {
      const auto& content =
          contents_[layer * heads_.kv_heads + head / (heads_.query_heads / heads_.kv_heads)];
      for (std::size_t token = 0; token < tokens; ++token) {
        const Position query = first + static_cast<Position>(token);
        for (std::size_t cell = 0; cell < names_.size(); ++cell) {
          const Position key = content[cell];
          weights.push_back(names_[cell] == no_position ? 0.75F
                            : key > query               ? 0.0F
                                                        : weight(layer, head, query, key));
        }
      }
    }
    return weights;
  }

  /// What a query head pays by itself.
  static float weight(std::size_t layer, std::size_t head, Position query, Position key) {
    static const std::vector<float> all = [] {
      Random random(11);
      std::vector<float> weights(8 * positions * positions);
      for (float& weight : weights) weight = draw_weight(Weights::grid, random);
      return weights;
    }();
    const std::size_t row = (layer * 4 + head) * positions + static_cast<std::size_t>(query);
    return all.at(row * positions + static_cast<std::size_t>(key));
  }

  void copy(std::size_t layer, std::size_t kv_head, Cell from, Cell to) {
    auto& content = contents_[layer * heads_.kv_heads + kv_head];
    EXPECT_NE(names_[from], no_position) << "copied from a free cell";
    EXPECT_NE(names_[to], no_position) << "copied to a free cell";
    content[to] = content[from];
  }

  void remove(Position position) {
    const auto cell = std::find(names_.begin(), names_.end(), position);
    ASSERT_NE(cell, names_.end()) << "no cell is known by position " << position;
    *cell = no_position;
  }

  /// The positions that a head attends to, ascending.
  [[nodiscard]] std::vector<Position> held(std::size_t layer, std::size_t kv_head) const {
    std::vector<Position> keys;
    for (std::size_t cell = 0; cell < names_.size(); ++cell) {
      if (names_[cell] == no_position) continue;
      keys.push_back(contents_[layer * heads_.kv_heads + kv_head][cell]);
    }
    std::sort(keys.begin(), keys.end());
    return keys;
  }

 private:
  static constexpr std::size_t positions = 128;

  HeadCounts heads_;
  std::vector<Position> names_;                  ///< of the cells, as llama.cpp knows them
  std::vector<std::vector<Position>> contents_;  ///< [layers][kv_heads][cells]
  Random random_;
};

constexpr HeadCounts heads{.layers = 2, .query_heads = 4, .kv_heads = 2};

struct Case {
  Scope scope;
  Setting setting;
};

std::vector<Case> cases() {
  std::vector<Case> result;
  for (const Scope scope : {Scope::sequence, Scope::layer, Scope::head}) {
    for (const GroupFusion group : {GroupFusion::max, GroupFusion::mean}) {
      result.push_back(
          {scope, {.capacity = 12, .window = 4, .sinks = 2, .max_tokens = 120, .group = group}});
      // With a window of one token, the newest one may be the victim.
      result.push_back(
          {scope, {.capacity = 9, .window = 1, .sinks = 0, .max_tokens = 120, .group = group}});
    }
  }
  return result;
}

/// The adapter over the fake cache.
template <class Contender>
class Rig {
 public:
  using Policy = typename Contender::Policy;

  explicit Rig(const Case& the_case)
      : scope_(the_case.scope),
        group_(the_case.setting.group),
        cells_(heads, scope_, Contender::options(the_case.setting), cell_count),
        cache_(heads, cell_count, 5) {}

  [[nodiscard]] const SharedCells<Policy>& cells() const { return cells_; }
  [[nodiscard]] std::size_t units() const { return cells_.units().size(); }
  [[nodiscard]] Position next() const { return next_; }

  void block(std::size_t tokens) { decode(tokens); }
  void make_room() { carry_out(cells_.make_room(next_)); }
  void step() { decode(1); }

  /// The row of a unit's heads over the positions up to `query`.
  [[nodiscard]] oracle::Row row(std::size_t unit, Position query) const {
    oracle::Row result(static_cast<std::size_t>(query) + 1, 0.0);
    std::size_t count = 0;
    cells_.each_head(unit, [&](std::size_t layer, std::size_t kv_head) {
      for (std::size_t g = 0; g < heads.query_heads / heads.kv_heads; ++g) {
        const std::size_t head = kv_head * (heads.query_heads / heads.kv_heads) + g;
        ++count;
        for (Position key = 0; key <= query; ++key) {
          double& fused = result[static_cast<std::size_t>(key)];
          const double weight = double{FakeCache::weight(layer, head, query, key)};
          fused = group_ == GroupFusion::max ? std::max(fused, weight) : fused + weight;
        }
      }
    });
    if (group_ == GroupFusion::max) return result;
    for (double& weight : result) weight /= static_cast<double>(count);
    return result;
  }

  /// Every head of a unit attends to exactly these positions.
  void expect_held(std::size_t unit, const std::vector<Position>& positions) const {
    EXPECT_EQ(cells_.table().in_use(), positions.size());
    cells_.each_head(unit, [&](std::size_t layer, std::size_t kv_head) {
      EXPECT_EQ(cache_.held(layer, kv_head), positions)
          << "layer " << layer << ", KV head " << kv_head << ", next position " << next_;
    });
  }

  [[nodiscard]] std::vector<Position> held_by_policy(std::size_t unit) const {
    std::vector<Position> positions;
    for (const Position position : cells_.units()[unit].policy().positions()) {
      if (position != no_position) positions.push_back(position);
    }
    std::sort(positions.begin(), positions.end());
    return positions;
  }

 private:
  static constexpr std::size_t cell_count = 160;

  void decode(std::size_t tokens) {
    cells_.arrive(next_, cache_.write(next_, tokens));
    for (std::size_t layer = 0; layer < heads.layers; ++layer) {
      cells_.attend(layer, cache_.attention(layer, next_, tokens).data(), cell_count);
    }
    next_ += static_cast<Position>(tokens);
    carry_out(cells_.settle());
  }

  void carry_out(const Release& release) {
    for (const CellCopy& copy : release.copies) {
      cells_.each_head(copy.unit, [&](std::size_t layer, std::size_t kv_head) {
        cache_.copy(layer, kv_head, copy.from, copy.to);
      });
    }
    for (const Position position : release.positions) cache_.remove(position);
  }

  Scope scope_;
  GroupFusion group_;
  SharedCells<Policy> cells_;
  FakeCache cache_;
  Position next_ = 0;
};

/// Every unit against an oracle of its own, which knows positions and no cells.
template <class Contender>
class LlamaCppOracleTest : public ::testing::Test {
 protected:
  static void play(const Case& the_case) {
    Rig<Contender> rig(the_case);
    std::vector<oracle::EvictionOracle> oracles(rig.units(),
                                                Contender::reference(the_case.setting));
    block(rig, oracles, 20);
    for (int step = 0; step < 40; ++step) one(rig, oracles);
    block(rig, oracles, 7);  // a later turn
    block(rig, oracles, 1);
    for (int step = 0; step < 20; ++step) one(rig, oracles);
  }

 private:
  static void block(Rig<Contender>& rig, std::vector<oracle::EvictionOracle>& oracles,
                    std::size_t tokens) {
    const Position first = rig.next();
    rig.block(tokens);
    for (std::size_t unit = 0; unit < oracles.size(); ++unit) {
      std::vector<oracle::Row> rows;
      for (std::size_t i = 0; i < tokens; ++i) {
        rows.push_back(rig.row(unit, first + static_cast<Position>(i)));
      }
      const auto no_values = [](Position) { return 1.0; };  // all norms count as equal
      ASSERT_EQ(oracles[unit].block(first, rows, no_values), Status::ok);
      rig.expect_held(unit, oracles[unit].kept());
    }
  }

  static void one(Rig<Contender>& rig, std::vector<oracle::EvictionOracle>& oracles) {
    const Position position = rig.next();
    rig.make_room();
    rig.step();
    for (std::size_t unit = 0; unit < oracles.size(); ++unit) {
      ASSERT_EQ(oracles[unit].arrive(position), Status::ok);
      oracles[unit].attend(rig.row(unit, position));
      rig.expect_held(unit, oracles[unit].kept());
    }
  }
};

TYPED_TEST_SUITE(LlamaCppOracleTest, OracleContenders);

TYPED_TEST(LlamaCppOracleTest, EveryHeadAttendsToWhatTheOracleKeeps) {
  for (const Case& the_case : cases()) {
    SCOPED_TRACE(::testing::Message()
                 << "scope " << static_cast<int>(the_case.scope) << ", " << the_case.setting);
    this->play(the_case);
    if (this->HasFailure()) return;
  }
}

/// The one that no oracle follows: cells and policy agree.
template <class Contender>
class LlamaCppPropertyTest : public ::testing::Test {};
TYPED_TEST_SUITE(LlamaCppPropertyTest, ::testing::Types<RandomContender>);

TYPED_TEST(LlamaCppPropertyTest, EveryHeadAttendsToWhatItsPolicyHolds) {
  for (const Case& the_case : cases()) {
    Rig<TypeParam> rig(the_case);
    const auto check = [&] {
      for (std::size_t unit = 0; unit < rig.units(); ++unit) {
        rig.expect_held(unit, rig.held_by_policy(unit));
      }
    };
    rig.block(20);
    check();
    for (int step = 0; step < 60; ++step) {
      rig.make_room();
      rig.step();
      check();
    }
  }
}

TEST(LlamaCppSharedCells, APolicyThatIsFullSaysSo) {
  SharedCells<Full> cells(heads, Scope::head, {.max_tokens = 1}, 4);
  cells.arrive(0, std::vector<Cell>{0, 1});
  const std::vector<float> weights(heads.query_heads * 2 * 4, 0.25F);
  for (std::size_t layer = 0; layer < heads.layers; ++layer) cells.attend(layer, weights.data(), 4);
  EXPECT_THROW((void)cells.settle(), std::runtime_error);
}

TEST(LlamaCppSharedCells, ABadRowIsAnError) {
  SharedCells<MorphKV> cells(heads, Scope::head, {.capacity = 8, .window = 2}, 4);
  cells.arrive(0, std::vector<Cell>{0});
  const std::vector<float> weights(heads.query_heads * 4, 1.5F);
  EXPECT_THROW(cells.attend(0, weights.data(), 4), std::runtime_error);
}

}  // namespace
}  // namespace morphkv::testing::llama_cpp_cells_test
