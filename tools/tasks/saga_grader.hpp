// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_SAGA_GRADER_HPP
#define MORPHKV_BENCH_TASKS_SAGA_GRADER_HPP

// Grades a saga by exact rules: is what a later scene says about a person what the response itself
// said when the person first appeared? A scene is found by its heading ("scene 12"), so one wrong
// word spoils one check and shifts nothing.

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "saga.hpp"

namespace morphkv::tasks {

// A statement that a later scene of a person has to make.
struct SagaCheck {
  std::size_t attribute = 0;
  int scene = 0;  // from 1
  bool correct = false;
  std::size_t begin = 0;  // the words that were judged: [begin, end) of the response; empty if the
  std::size_t end = 0;    // scene says nothing of the kind
};

struct SagaGrade {
  int scenes = 0;
  int scenes_present = 0;
  int planned_person = 0;  // scenes that speak of the person whom the plan names
  std::array<int, Saga::attributes> demanded{};
  std::array<int, Saga::attributes> correct{};
  std::vector<SagaCheck> checks;

  [[nodiscard]] double completion() const { return share(scenes_present, scenes); }
  [[nodiscard]] double plan() const { return share(planned_person, scenes); }
  [[nodiscard]] double consistency(std::size_t attribute) const {
    return share(correct[attribute], demanded[attribute]);
  }
  [[nodiscard]] double average() const {
    int all = 0;
    int right = 0;
    for (std::size_t a = 0; a < Saga::attributes; ++a) {
      all += demanded[a];
      right += correct[a];
    }
    return share(right, all);
  }
  // Adds the counts of another response; its checks stay with it.
  SagaGrade& operator+=(const SagaGrade& other) {
    scenes += other.scenes;
    scenes_present += other.scenes_present;
    planned_person += other.planned_person;
    for (std::size_t a = 0; a < Saga::attributes; ++a) {
      demanded[a] += other.demanded[a];
      correct[a] += other.correct[a];
    }
    return *this;
  }
};

class SagaGrader {
 public:
  explicit SagaGrader(const SagaWriter& task) : vocabulary_(&task.vocabulary()) {
    scene_ = vocabulary_->id("scene");
    for (std::size_t a = 0; a < Saga::attributes; ++a) {
      for (const int value : task.values(a)) {
        attribute_of_[value] = a;
      }
    }
  }

  [[nodiscard]] SagaGrade grade(const Saga& saga, std::span<const int> response) const {
    const std::vector<Scene> scenes = read(saga, response);
    SagaGrade grade;
    grade.scenes = saga.options.scenes;
    std::map<int, std::array<int, Saga::attributes>> first;  // what was said of a person first
    std::set<int> met;
    for (std::size_t i = 0; i < scenes.size(); ++i) {
      const Scene& scene = scenes[i];
      grade.scenes_present += scene.present ? 1 : 0;
      grade.planned_person += scene.person_present ? 1 : 0;
      const bool is_new = met.insert(saga.plan[i]).second;
      auto& known = first.try_emplace(saga.plan[i], nothing_said).first->second;
      for (std::size_t a = 0; a < Saga::attributes; ++a) {
        if (!is_new) {
          judge(scene, static_cast<int>(i) + 1, a, known[a], grade);
        }
        if (known[a] < 0) {
          known[a] = scene.values[a];
        }
      }
    }
    return grade;
  }

  // Has the response reached the end of its last scene? (A decoder may stop here.)
  [[nodiscard]] bool finished(const Saga& saga, std::span<const int> response) const {
    const auto headings = std::count(response.begin(), response.end(), scene_);
    return headings > saga.options.scenes;
  }

 private:
  static constexpr std::array<int, Saga::attributes> nothing_said = {-1, -1, -1};

  struct Scene {
    bool present = false;
    bool person_present = false;
    std::array<int, Saga::attributes> values = nothing_said;  // what it says first of its person
    std::array<std::size_t, Saga::attributes> at{};
  };

  std::vector<Scene> read(const Saga& saga, std::span<const int> response) const {
    std::vector<Scene> scenes(saga.plan.size());
    Scene* scene = nullptr;
    int person = -1;
    for (std::size_t i = 0; i + 1 < response.size(); ++i) {
      if (response[i] == scene_) {
        const int index = open_scene(saga, response[i + 1], scenes);
        scene = index < 0 ? nullptr : &scenes[static_cast<std::size_t>(index)];
        person = index < 0 ? -1 : saga.plan[static_cast<std::size_t>(index)];
      } else if (scene != nullptr && response[i] == person) {
        scene->person_present = true;
        note(*scene, response[i + 1], i + 1);
      }
    }
    return scenes;
  }

  // The scene that a heading opens; -1 for one that is not asked for or was there before.
  int open_scene(const Saga& saga, int number, std::vector<Scene>& scenes) const {
    if (!vocabulary_->is_number(number)) {
      return -1;
    }
    const int index = vocabulary_->value_of(number) - saga.options.first_scene;
    if (index < 0 || index >= saga.options.scenes ||
        std::exchange(scenes[static_cast<std::size_t>(index)].present, true)) {
      return -1;
    }
    return index;
  }

  void note(Scene& scene, int value, std::size_t at) const {
    const auto attribute = attribute_of_.find(value);
    if (attribute != attribute_of_.end() && scene.values[attribute->second] < 0) {
      scene.values[attribute->second] = value;
      scene.at[attribute->second] = at;
    }
  }

  static void judge(const Scene& scene, int number, std::size_t attribute, int known,
                    SagaGrade& grade) {
    const int value = scene.values[attribute];
    SagaCheck check{attribute, number, value >= 0 && value == known, 0, 0};
    if (value >= 0) {
      check.begin = scene.at[attribute];
      check.end = check.begin + 1;
    }
    ++grade.demanded[attribute];
    grade.correct[attribute] += check.correct ? 1 : 0;
    grade.checks.push_back(check);
  }

  const Vocabulary* vocabulary_;
  std::map<int, std::size_t> attribute_of_;
  int scene_ = 0;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_SAGA_GRADER_HPP
