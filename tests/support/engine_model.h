// Plays random requests to the engine and to a model, and compares the two. The model is only a table of pages. The
// choices come from outside: from a seed in tests, from the fuzzer's input in fuzzing.
#ifndef CLRHM_TESTS_SUPPORT_ENGINE_MODEL_H
#define CLRHM_TESTS_SUPPORT_ENGINE_MODEL_H

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {

class EngineModel {
 public:
  // below(n): any number in [0, n), n > 0.
  using Chooser = std::function<std::uint64_t(std::uint64_t n)>;
  explicit EngineModel(Chooser below);

  // Plays one request and compares the outcome and the charge with the model. Returns the difference, if any.
  [[nodiscard]] std::optional<std::string> Step();
  // Audits the whole ledger. Returns the difference, if any.
  [[nodiscard]] std::optional<std::string> Audit() const;
  // Frees everything that the manager reserved and every view. Returns what is left charged or differs, if anything.
  [[nodiscard]] std::optional<std::string> FreeEverything();

 private:
  enum class Owner : std::uint8_t { kNobody, kManager, kForeign, kView };
  struct Page {
    Owner owner = Owner::kNobody;
    std::uint32_t first = 0;  // the region's first page, as an index into the table
    bool committed = false;
    bool charged = false;
  };
  struct Range {  // pages of the table, and the bytes by which a caller names them
    std::size_t first = 0;
    std::size_t count = 0;
    Address address = 0;
    std::uint64_t size = 0;
    [[nodiscard]] std::size_t end() const { return first + count; }
  };

  void Reserve(bool commits);
  void Commit();
  void Decommit();
  void Release();
  void ForeignReserve();
  void ForeignFree();
  void ViewMap();
  void ViewUnmap();
  void ChangeLimits();

  [[nodiscard]] Range ChooseRange(std::size_t most);
  [[nodiscard]] Range RegionOf(std::size_t page) const;
  [[nodiscard]] bool IsFree(const Range& range) const;
  [[nodiscard]] bool InOneRegion(const Range& range) const;
  [[nodiscard]] std::uint64_t Uncommitted(const Range& range) const;
  [[nodiscard]] bool OrderFault(OsCall call);
  [[nodiscard]] Address AddressOf(std::size_t page) const { return start_ + page * kPageSize; }
  void Take(const Range& range, Owner owner, bool committed, bool charged);
  void Forget(const Range& region);
  void Expect(bool expected_ok, const Outcome& outcome, const char* what, const Range& range);

  Chooser below_;
  ManagedEngine manager_;
  Address start_;
  std::vector<Page> pages_;
  std::uint64_t charged_ = 0;    // pages
  std::uint64_t committed_ = 0;  // pages, charged or not
  std::uint64_t limit_ = ~std::uint64_t{0};
  std::uint64_t commit_limit_ = ~std::uint64_t{0};
  std::string last_;
  std::optional<std::string> wrong_;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_ENGINE_MODEL_H
