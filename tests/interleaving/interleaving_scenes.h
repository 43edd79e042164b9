// Operations that interrupt one another, and the scenes in which they meet.
#ifndef CLRHM_TESTS_UNIT_INTERLEAVING_SCENES_H
#define CLRHM_TESTS_UNIT_INTERLEAVING_SCENES_H

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/engine_fixture.h"
#include "support/interleaver.h"

namespace clr_host_memory::test {

inline constexpr Address kSceneBase = sizeof(void*) == 8 ? 0x10'0000'0000 : 0x4000'0000;
inline constexpr std::uint64_t kSceneSize = 64 * kPageSize;

// Where the region lies: in one page word, or across two.
enum class Place : std::uint8_t { kOneWord, kTwoWords };
[[nodiscard]] inline Address BaseOf(Place place) {
  return place == Place::kOneWord ? kSceneBase : kSceneBase + 48 * kPageSize;
}

struct SceneOperation {
  std::string name;
  std::function<void(ManagedEngine&, Address base)> run;
};
struct Scene {
  std::string name;
  std::function<void(ManagedEngine&, Address base)> prepare;
  Bytes most_charged{4 * kSceneSize};  // bounds the charge while other operations are suspended
};

// `checked` fails the test if an operation breaks an invariant. It accepts every other verdict.
inline std::vector<SceneOperation> RegionOperations() {
  constexpr std::uint64_t kP = kPageSize;
  const auto checked = [](Outcome outcome) {
    if (outcome.verdict == Verdict::kInvariantBroken) ADD_FAILURE() << "an invariant broke";
  };
  return {
      {"commit pages 0-7", [=](ManagedEngine& m, Address b) { checked(m.Commit(b, 8 * kP).outcome); }},
      {"commit pages 4-19", [=](ManagedEngine& m, Address b) { checked(m.Commit(b + 4 * kP, 16 * kP).outcome); }},
      {"decommit pages 0-7", [=](ManagedEngine& m, Address b) { checked(m.Decommit(b, 8 * kP)); }},
      {"decommit pages 6-17", [=](ManagedEngine& m, Address b) { checked(m.Decommit(b + 6 * kP, 12 * kP)); }},
      {"decommit all", [=](ManagedEngine& m, Address b) { checked(m.Decommit(b, 0)); }},
      {"release", [=](ManagedEngine& m, Address b) { checked(m.Release(b)); }},
      {"reserve there", [=](ManagedEngine& m, Address b) { checked(m.Reserve(kSceneSize, b).outcome); }},
      {"reserve and commit there",
       [=](ManagedEngine& m, Address b) { checked(m.ReserveAndCommit(kSceneSize, b).outcome); }},
      {"release, then reserve and commit half of it",
       [=](ManagedEngine& m, Address b) {
         checked(m.Release(b));
         checked(m.ReserveAndCommit(kSceneSize / 2, b).outcome);
       }},
      {"release, then reserve 64 KiB further and commit",
       [=](ManagedEngine& m, Address b) {
         checked(m.Release(b));
         checked(m.Reserve(kSceneSize, b + kGranuleSize).outcome);
         checked(m.Commit(b + kGranuleSize, 8 * kP).outcome);
       }},
      {"a commit the OS refuses",
       [=](ManagedEngine& m, Address b) {
         m.os.Fail(OsCall::kAllocate, win32::kCommitmentLimit);
         checked(m.Commit(b + 2 * kP, 8 * kP).outcome);
       }},
      {"a decommit the OS refuses",
       [=](ManagedEngine& m, Address b) {
         m.os.Fail(OsCall::kFree, win32::kInvalidParameter);
         checked(m.Decommit(b + 2 * kP, 8 * kP));
       }},
      {"a release the OS refuses",
       [=](ManagedEngine& m, Address b) {
         m.os.Fail(OsCall::kFree, win32::kInvalidParameter);
         checked(m.Release(b));
       }},
  };
}

inline std::vector<Scene> RegionScenes() {
  return {
      {"a reserved region", [](ManagedEngine& m, Address b) { ASSERT_TRUE(m.Reserve(kSceneSize, b).outcome.ok()); }},
      {"a region with pages 0-9 committed",
       [](ManagedEngine& m, Address b) {
         ASSERT_TRUE(m.Reserve(kSceneSize, b).outcome.ok());
         ASSERT_TRUE(m.Commit(b, 10 * kPageSize).outcome.ok());
       }},
  };
}

// A mapped view that is unmapped while other operations use its address. The manager is notified after the unmap, as a
// CLR does it.
inline Scene ViewScene() {
  return {"a view with pages 0-9 committed", [](ManagedEngine& m, Address b) {
            ASSERT_EQ(m.os.MapView(b, kSceneSize, ViewPages::kReserved).error, win32::kSuccess);
            ASSERT_TRUE(m.engine.AcquireView(b, kSceneSize).ok());
            ASSERT_TRUE(m.Commit(b, 10 * kPageSize).outcome.ok());
          }};
}
inline std::vector<SceneOperation> ViewOperations() {
  std::vector<SceneOperation> operations = RegionOperations();
  operations.push_back({"unmap the view and tell", [](ManagedEngine& m, Address b) {
                          if (m.os.UnmapView(b) != win32::kSuccess) return;
                          InterleavingPoint();
                          EXPECT_TRUE(m.engine.ReleaseView(b).ok());
                        }});
  operations.push_back({"look for what is gone", [](ManagedEngine& m, Address) { m.engine.UnchargeFreedElsewhere(); }});
  return operations;
}

// Maps another view at the address of the first, as a thread that receives the address from the OS.
inline SceneOperation MapAnotherView() {
  return {"map a view there, announce it and commit", [](ManagedEngine& m, Address b) {
            if (m.os.MapView(b, kSceneSize, ViewPages::kReserved).error != win32::kSuccess) return;
            InterleavingPoint();
            EXPECT_TRUE(m.engine.AcquireView(b, kSceneSize).ok());
            EXPECT_TRUE(m.Commit(b, 8 * kPageSize).outcome.ok());
          }};
}

// Plays operations in one scene. Check expects an exact ledger, and no charge once everything is released.
class SceneWorld final : public InterleavedWorld {
 public:
  SceneWorld(const Scene& scene, Place place, const std::vector<SceneOperation>& operations)
      : base_(BaseOf(place)), operations_(operations), most_charged_(scene.most_charged) {
    scene.prepare(manager_, base_);
    manager_.os.SetObserver([](const OsCallInfo&) { InterleavingPoint(); });
    name_ = scene.name + (place == Place::kOneWord ? " in one word" : " across two words");
    for (const SceneOperation& operation : operations) name_ += "; " + operation.name;
  }

  std::vector<std::function<void()>> Operations() override {
    std::vector<std::function<void()>> runs;
    for (const SceneOperation& operation : operations_) {
      runs.emplace_back([this, &operation] {
        operation.run(manager_, base_);
        // A charge below 0 would refuse every request. A charge that counts pages twice would refuse requests that fit
        // the limit.
        charge_was_plausible_ = charge_was_plausible_ && manager_.Charged() <= most_charged_;
      });
    }
    return runs;
  }

  bool Check(const std::string& schedule) override {
    manager_.os.ClearFaults();
    const auto exact = manager_.Exact();
    EXPECT_TRUE(exact) << name_ << "\n  " << schedule;
    EXPECT_TRUE(charge_was_plausible_) << name_ << "\n  " << schedule;
    for (Address base = kSceneBase; base < kSceneBase + 4 * kSceneSize; base += kGranuleSize) {
      static_cast<void>(manager_.Release(base));
      if (manager_.os.UnmapView(base) == win32::kSuccess) static_cast<void>(manager_.engine.ReleaseView(base));
    }
    EXPECT_EQ(manager_.Charged(), Bytes{}) << name_ << "\n  " << schedule;
    EXPECT_EQ(manager_.os.RegionCount(), 0u) << "a region was forgotten: " << name_ << "\n  " << schedule;
    const LedgerFigures figures = manager_.engine.ledger().Figures();
    EXPECT_EQ(figures.regions, 0u) << name_ << "\n  " << schedule;
    EXPECT_EQ(figures.reserved, Bytes{}) << name_ << "\n  " << schedule;
    return !testing::Test::HasFailure();
  }

 private:
  ManagedEngine manager_;
  Address base_;
  const std::vector<SceneOperation>& operations_;
  const Bytes most_charged_;
  std::string name_;
  bool charge_was_plausible_ = true;  // only one thread runs at a time
};

// Explores one choice of operations. Returns false to end a test early: one failing schedule is enough.
[[nodiscard]] inline bool ExploreScene(const Scene& scene, Place place, const std::vector<SceneOperation>& operations,
                                       int preemptions, std::uint64_t* schedules) {
  const Exploration exploration =
      Explore([&] { return std::make_unique<SceneWorld>(scene, place, operations); }, preemptions);
  *schedules += exploration.schedules;
  EXPECT_TRUE(exploration.complete);
  return exploration.passed;
}

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_UNIT_INTERLEAVING_SCENES_H
