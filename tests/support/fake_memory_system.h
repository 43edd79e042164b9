// A fake operating system: Windows' virtual memory as a model in plain numbers, with faults and hooks to order.
//
// It follows VirtualAlloc, VirtualFree, VirtualQuery and VirtualProtect: 64 KiB granules, 4 KiB pages, all or nothing,
// and the error numbers Windows gives. Addresses are never dereferenced, so regions may be of any size and anywhere in
// 47 bits. Metadata is real memory, counted, so that a leak shows.
// Threads: any; one mutex inside. Hooks run outside of it: they may call back into the manager, block, or throw.
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

enum class Moment : std::uint8_t { kBefore, kAfter };  // the OS acts between them

// One call as a hook sees it. After the OS has acted, error and result tell what came out.
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

  // ---- what others do in the process: no hooks, no faults, not counted
  AllocateResult RawAllocate(const AllocateRequest& request);
  win32::Error RawFree(Address address, std::uint64_t size, std::uint32_t type);
  // MapViewOfFileEx; base 0: anywhere. kReserved: a SEC_RESERVE section, whose pages VirtualAlloc commits one by one.
  AllocateResult MapView(Address base, std::uint64_t size, ViewPages pages);
  win32::Error UnmapView(Address base);
  // CreateFileMapping of a SEC_RESERVE section backed by the paging file, MapViewOfFileEx of it, and its end: the
  // caller counts handles and views.
  std::uint32_t MakeSection();
  AllocateResult MapSection(std::uint32_t section, std::uint64_t offset, Address base, std::uint64_t size);
  void EndSection(std::uint32_t section);

  // ---- what the machine has
  void SetCommitLimit(Bytes limit);  // over it: ERROR_COMMITMENT_LIMIT
  // Free addresses are looked for in [low, high): outside of it a region can only be placed by naming its address.
  void SetSearchRange(Address low, Address high);
  // Whether what is committed through a view shows in others, and whether ViewsShareCommits says so; before any commit.
  void SetViewsShareCommits(bool share, bool says_so);
  void SetNumaNodes(std::uint32_t count);
  void SetLockMemoryPrivilege(bool held);
  void SetLoad(const MemoryLoad& load);

  // ---- faults
  // Calls skip+1 .. skip+times of this kind, counted from now, do nothing and fail with error (where there is one to
  // give). error kSuccess: they do nothing and claim success; an Allocate then answers with `address`.
  void Fail(OsCall call, win32::Error error, std::uint64_t skip = 0, std::uint64_t times = 1, Address address = 0);
  void ClearFaults();

  // ---- hooks
  // Runs hook once, at call skip+1 of this kind from now. It is taken away before it runs, so it may make calls itself.
  void OnNext(OsCall call, Moment moment, Hook hook, std::uint64_t skip = 0);
  // Runs at every call; an empty function ends it. Not to be changed while other threads make calls.
  void SetObserver(Hook observer);

  // ---- what a test looks at
  [[nodiscard]] std::uint64_t Calls(OsCall call) const;
  [[nodiscard]] std::uint64_t AllCalls() const;
  void ResetCalls();
  [[nodiscard]] Pages Committed() const;  // private and in views, all of the process
  [[nodiscard]] Pages CommittedIn(PageRange range) const;
  [[nodiscard]] std::size_t RegionCount() const;
  [[nodiscard]] std::uint64_t LiveMetadata() const { return live_metadata_.load(); }  // blocks not given back

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
  // A call under way: counts it, and runs the hooks on both sides of what the OS does.
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
