// SPDX-License-Identifier: Apache-2.0
/// \file
/// Eviction by brute force: all rows are stored by position, and every decision is computed from
/// them anew. Written from the papers' definitions, not from the library.
#ifndef MORPHKV_TESTS_ORACLE_EVICTION_ORACLE_HPP
#define MORPHKV_TESTS_ORACLE_EVICTION_ORACLE_HPP

#include <cstddef>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "morphkv/core/types.hpp"

namespace morphkv::oracle {

/// What one query paid, by position; a token that it did not see has 0.
using Row = std::vector<double>;

struct Token {
  Position position = 0;
  std::size_t arrival = 0;  ///< how many tokens came before it
  bool of_prompt = false;
  std::size_t pin = no_pin;  ///< rank among the tokens that the last block pinned

  static constexpr std::size_t no_pin = std::numeric_limits<std::size_t>::max();
};

/// The norm of the value of the token at a position: tests make it up.
inline double norm_at(Position position) { return 0.5 + 0.25 * (position * 7 % 5); }

/// Who may never leave.
struct Protected {
  std::size_t sinks = 0;
  std::size_t recent = 0;
  bool prompt = false;
};

/// When tokens leave.
enum class Timing {
  before_arrival,   ///< MorphKV, TOVA, StreamingLLM: the arriving token takes the victim's place
  after_attention,  ///< H2O: the step sees one token more
  after_prompt,     ///< SnapKV
  never
};

/// What a score is computed from.
struct History {
  std::deque<std::shared_ptr<const Row>>
      rows;  ///< of every query that attended, oldest first; copies share them
  std::deque<std::size_t> arrivals;  ///< of the rows' queries: how many tokens came before each
  std::vector<Token> tokens;         ///< held, by position
  std::size_t block = 0;             ///< how many of the rows came with the last block
  std::vector<std::size_t> seen;     ///< by position: how many queries had attended before it came
  std::size_t queries = 0;           ///< that attended so far
};

inline double weight(const Row& row, Position position) {
  const auto index = static_cast<std::size_t>(position);
  return index < row.size() ? row[index] : 0.0;
}

/// Scores of the first `count` of the held tokens; the lowest is evicted first.
using Scoring = std::function<std::vector<double>(const History&, std::size_t count)>;

struct OracleOptions {
  std::size_t capacity = 0;
  std::size_t slots = 0;  ///< Timing::after_prompt and never: tokens that fit
  Timing timing = Timing::before_arrival;
  Protected protection;
  std::size_t memory = std::numeric_limits<std::size_t>::max();  ///< rows that may matter
  Scoring scoring;
  std::size_t pins = 0;  ///< see morphkv/eviction/pins.hpp
  std::size_t pin_half_life = 1;
  double (*rounding)(double) = nullptr;  ///< of a weight before it scores
};

/// One head.
class EvictionOracle {
 public:
  explicit EvictionOracle(OracleOptions options) : options_(std::move(options)) {}

  [[nodiscard]] const OracleOptions& options() const { return options_; }
  [[nodiscard]] const History& history() const { return history_; }

  /// The tokens held, ascending.
  [[nodiscard]] std::vector<Position> kept() const;
  [[nodiscard]] Position newest() const { return newest_; }

  /// Tokens that come together, each with its row over what is held and the block up to itself.
  /// \param norm of the value of the token at a position
  Status block(Position first, const std::vector<Row>& rows,
               const std::function<double(Position)>& norm = norm_at);

  /// One token comes.
  Status arrive(Position position);

  /// It attends. (If the next one comes before it does, its row was zeros.)
  void attend(const Row& row);

  /// The tokens held get positions without gaps, up to `newest` for the newest that has come.
  void renumber(Position newest);

  /// Goes on as a head of other options: as if its next selection had to leave the tokens that
  /// those let it hold. The rows stay, or are `rows`, if a window begins anew.
  Status take_over(OracleOptions options, const std::vector<Row>* rows = nullptr);

  /// The score of the held tokens, all of them.
  [[nodiscard]] std::vector<double> scores() const;

  /// How clear the last eviction was: the relative gap between the best score that went and the
  /// worst candidate's that stayed. Where it is small, rounding may decide otherwise.
  [[nodiscard]] double margin() const { return margin_; }
  /// Whether the two scores are nearer than the rounding of as many weights to multiples of 2^-40
  /// can be, which running sums are made of.
  [[nodiscard]] bool is_below_units() const;

  /// The pinned tokens; the last one is released first.
  [[nodiscard]] std::vector<Position> pins() const;
  /// What the last block ranked a token by when it gave pins; 0 if it was none of those ranked.
  [[nodiscard]] double pin_value(Position position) const;

  /// Whether the token at this index of kept() is a sink or a protected prompt token.
  [[nodiscard]] bool permanent(std::size_t index) const;

 private:
  [[nodiscard]] bool over_capacity() const { return history_.tokens.size() > options_.capacity; }

  void add(Position position, bool of_prompt);

  void record(Row row);

  /// The row that did not come: zeros.
  void settle();

  /// Whether the next token needs the place of another.
  [[nodiscard]] bool takes_a_place() const;

  /// How many of the newest tokens held may not leave: an arriving token is the newest of the
  /// recent ones itself, and H2O evicts before it arrives.
  [[nodiscard]] std::size_t places_kept() const;

  [[nodiscard]] Status can_arrive() const;

  /// Pins that are left now.
  [[nodiscard]] std::size_t pins_left() const;
  [[nodiscard]] bool pinned(const Token& token) const;

  /// Pins tokens of a block with these rows.
  void pin(const std::vector<Row>& rows, const std::function<double(Position)>& norm);

  /// After a block with these rows: the protected tokens and the best of the others.
  Status shrink(const std::vector<Row>& rows, const std::function<double(Position)>& norm);

  /// For take_over(): tokens are ranked as they were `before`.
  Status shrink_to_options(const OracleOptions& before);

  [[nodiscard]] std::vector<std::size_t> candidates(std::size_t recent) const;

  /// The `count` lowest scores of a block that is cut, ascending; nothing if there are not so many.
  [[nodiscard]] std::vector<std::size_t> leaving(std::size_t count);

  void evict_least(std::size_t recent);

  /// Leaves the `count` with the lowest scores.
  void rank(std::vector<std::size_t>& order, const std::vector<double>& score, std::size_t count);

  void erase(std::size_t index);

  OracleOptions options_;
  History history_;
  std::size_t arrivals_ = 0;
  std::size_t pinned_at_ = 0;
  Position newest_ = no_position;
  std::map<Position, double> pin_values_;
  double margin_ = std::numeric_limits<double>::infinity();
  double gap_ = std::numeric_limits<double>::infinity();  ///< margin_, not relative
  bool awaits_row_ = false;
  bool generates_ = false;
};

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_EVICTION_ORACLE_HPP
