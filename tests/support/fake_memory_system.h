// A fake operating system: the virtual memory of Windows as a model in plain numbers, with faults and hooks on
// request.
//
// It follows VirtualAlloc, VirtualFree, VirtualQuery and VirtualProtect, with 64 KiB granules and 4 KiB pages. A call
// succeeds or fails as a whole, with the error numbers of Windows. Addresses are never dereferenced, so a region may
// have any size and lie anywhere in 47 bits. Metadata is real memory. It is counted, so that a test can detect a leak.
// Threads: any; one mutex inside. Hooks run outside the mutex: a hook may call back into the manager, block, or throw.
#ifndef CLRHM_TESTS_SUPPORT_FAKE_MEMORY_SYSTEM_H
#define CLRHM_TESTS_SUPPORT_FAKE_MEMORY_SYSTEM_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "os/memory_system.h"
#include "support/fake_address_space.h"

namespace clr_host_memory::test {

// The functions of MemorySystem.
enum class OsCall : std::uint8_t {
  kAllocate,
  kFree,
  kQuery,
  kProtect,
  kDescribe,
  kLoad,
  kAllocateMetadata,
  kFreeMetadata,
};
inline constexpr std::size_t kOsCallCount = 8;

enum class Moment : std::uint8_t { kBefore, kAfter };  // the OS acts between the two

// One call as a hook sees it. `error` and `result` are valid once the OS has acted.
struct OsCallInfo {
  OsCall call = OsCall::kAllocate;
  Moment moment = Moment::kBefore;
  Address address = 0;
  std::uint64_t size = 0;
  std::uint32_t type = 0;
  win32::Error error = win32::kSuccess;
  Address result = 0;
  std::uint32_t node = win32::kNoPreferredNode;
};

class FakeMemorySystem final : public MemorySystem {
 public:
  using Hook = std::function<void(const OsCallInfo&)>;

  FakeMemorySystem() = default;
  FakeMemorySystem(const FakeMemorySystem&) = delete;
  FakeMemorySystem& operator=(const FakeMemorySystem&) = delete;

  // ---- MemorySystem
  AllocateResult Allocate(const AllocateRequest& request) override;
  win32::Error Free(Address address, std::uint64_t size, std::uint32_t type) override;
  win32::Error Query(Address address, void* buffer, std::size_t length, std::size_t* written) override;
  win32::Error Protect(Address address, std::uint64_t size, std::uint32_t protect, std::uint32_t* old_protect) override;
  PageRun Describe(Address address) override;
  bool ViewsShareCommits() const override { return says_views_share_commits_; }
  win32::Error Load(MemoryLoad* load) override;
  void* AllocateMetadata(std::size_t size) override;
  void FreeMetadata(void* memory, std::size_t size) override;

  // ---- actions of other code in the process: no hooks, no faults, not counted
  AllocateResult RawAllocate(const AllocateRequest& request);
  win32::Error RawFree(Address address, std::uint64_t size, std::uint32_t type);
  // MapViewOfFileEx. base 0: at any address. kReserved: a view of a SEC_RESERVE section, whose pages VirtualAlloc
  // commits one by one.
  AllocateResult MapView(Address base, std::uint64_t size, ViewPages pages);
  win32::Error UnmapView(Address base);
  // CreateFileMapping of a SEC_RESERVE section backed by the paging file, MapViewOfFileEx of it, and its end. The
  // caller counts handles and views.
  std::uint32_t MakeSection();
  AllocateResult MapSection(std::uint32_t section, std::uint64_t offset, Address base, std::uint64_t size);
  void EndSection(std::uint32_t section);

  // ---- the machine's resources
  void SetCommitLimit(Bytes limit);  // a commit above it fails with ERROR_COMMITMENT_LIMIT
  // Searches for free addresses in [low, high). A region outside this range must be placed by its address.
  void SetSearchRange(Address low, Address high);
  // share: pages committed through one view are committed in every view. says_so: the answer of ViewsShareCommits.
  // Call it before any commit.
  void SetViewsShareCommits(bool share, bool says_so);
  void SetNumaNodes(std::uint32_t count);
  void SetLockMemoryPrivilege(bool held);
  void SetLoad(const MemoryLoad& load);

  // ---- faults
  // Makes calls skip+1 .. skip+times of this kind, counted from now, do nothing and return `error`, where the call
  // returns an error. With kSuccess the calls do nothing and report success; an Allocate then returns `address`.
  void Fail(OsCall call, win32::Error error, std::uint64_t skip = 0, std::uint64_t times = 1, Address address = 0);
  void ClearFaults();

  // ---- hooks
  // Runs `hook` once, at call skip+1 of this kind from now. The hook is removed before it runs, so it may make calls
  // itself.
  void OnNext(OsCall call, Moment moment, Hook hook, std::uint64_t skip = 0);
  // Runs `observer` at every call; an empty function ends this. Must not be called while other threads make calls.
  void SetObserver(Hook observer);

  // ---- results for tests
  [[nodiscard]] std::uint64_t Calls(OsCall call) const;
  [[nodiscard]] std::uint64_t AllCalls() const;
  void ResetCalls();
  [[nodiscard]] Pages Committed() const;  // of the whole process: private pages and pages in views
  [[nodiscard]] Pages CommittedIn(PageRange range) const;
  [[nodiscard]] std::size_t RegionCount() const;
  [[nodiscard]] std::uint64_t LiveMetadata() const { return live_metadata_.load(); }  // blocks not freed

 private:
  struct Fault {
    OsCall call;
    win32::Error error;
    std::uint64_t skip;
    std::uint64_t times;
    Address address;
  };
  struct OneShot {
    OsCall call;
    Moment moment;
    std::uint64_t skip;
    Hook hook;
  };
  // Performs one call: counts it, and runs the hooks before and after the action of the OS.
  template <typename Act>
  void Perform(OsCallInfo& info, Act act);
  void RunHooks(const OsCallInfo& info);
  [[nodiscard]] std::optional<Fault> TakeFault(OsCall call);  // under mutex_

  mutable std::mutex mutex_;
  FakeAddressSpace space_;
  MemoryLoad load_{.percent_in_use = 40, .available_physical = {6ull << 30}, .total_physical = {10ull << 30}};
  std::list<Fault> faults_;
  std::list<OneShot> one_shots_;
  Hook observer_;
  std::atomic<bool> hooked_ = false;
  std::atomic<bool> says_views_share_commits_ = true;
  std::atomic<std::uint64_t> live_metadata_ = 0;
  std::array<std::atomic<std::uint64_t>, kOsCallCount> calls_{};
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_FAKE_MEMORY_SYSTEM_H
