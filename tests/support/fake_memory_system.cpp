#include "support/fake_memory_system.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace clr_host_memory::test {
namespace {

constexpr std::align_val_t kMetadataAlignment{kPageSize};

[[nodiscard]] Address ToAddress(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace

template <typename Act>
void FakeMemorySystem::Perform(OsCallInfo& info, Act act) {
  calls_[static_cast<std::size_t>(info.call)].fetch_add(1, std::memory_order_relaxed);
  const bool hooked = hooked_.load(std::memory_order_acquire);
  info.moment = Moment::kBefore;
  if (hooked) RunHooks(info);
  {
    const std::lock_guard lock(mutex_);
    act(faults_.empty() ? std::nullopt : TakeFault(info.call));
  }
  info.moment = Moment::kAfter;
  if (hooked) RunHooks(info);
}

void FakeMemorySystem::RunHooks(const OsCallInfo& info) {
  Hook hook;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = one_shots_.begin(); it != one_shots_.end(); ++it) {
      if (it->call != info.call || it->moment != info.moment) continue;
      if (it->skip-- != 0) continue;
      hook = std::move(it->hook);
      one_shots_.erase(it);
      break;
    }
  }
  if (hook) hook(info);
  if (observer_) observer_(info);
}

std::optional<FakeMemorySystem::Fault> FakeMemorySystem::TakeFault(OsCall call) {
  for (auto it = faults_.begin(); it != faults_.end(); ++it) {
    if (it->call != call) continue;
    if (it->skip != 0) {
      --it->skip;
      continue;
    }
    const Fault fault = *it;
    if (--it->times == 0) faults_.erase(it);
    return fault;
  }
  return std::nullopt;
}

AllocateResult FakeMemorySystem::Allocate(const AllocateRequest& request) {
  OsCallInfo info{.call = OsCall::kAllocate,
                  .address = request.address,
                  .size = request.size,
                  .type = request.type,
                  .node = request.node};
  Perform(info, [&](const std::optional<Fault>& fault) {
    const AllocateResult result =
        fault ? AllocateResult{fault->error == 0 ? fault->address : 0, fault->error} : space_.Allocate(request);
    info.error = result.error;
    info.result = result.address;
  });
  return {info.result, info.error};
}

win32::Error FakeMemorySystem::Free(Address address, std::uint64_t size, std::uint32_t type) {
  OsCallInfo info{.call = OsCall::kFree, .address = address, .size = size, .type = type};
  Perform(info, [&](const std::optional<Fault>& fault) {
    info.error = fault ? fault->error : space_.Free(address, size, type);
  });
  return info.error;
}

win32::Error FakeMemorySystem::Query(Address address, void* buffer, std::size_t length, std::size_t* written) {
  OsCallInfo info{.call = OsCall::kQuery, .address = address, .size = length};
  Perform(info, [&](const std::optional<Fault>& fault) {
    RawMemoryInformation raw{};
    PageRun run;
    *written = 0;
    if (fault) {
      info.error = fault->error;
    } else if (length < sizeof(raw)) {
      info.error = kErrorBadLength;
    } else if (!space_.Inspect(address, &raw, &run)) {
      info.error = win32::kInvalidParameter;
    } else {
      std::memcpy(buffer, &raw, sizeof(raw));
      *written = sizeof(raw);
    }
  });
  return info.error;
}

win32::Error FakeMemorySystem::Protect(Address address, std::uint64_t size, std::uint32_t protect,
                                       std::uint32_t* old_protect) {
  OsCallInfo info{.call = OsCall::kProtect, .address = address, .size = size, .type = protect};
  Perform(info, [&](const std::optional<Fault>& fault) {
    info.error = fault ? fault->error : space_.Protect(address, size, protect, old_protect);
  });
  return info.error;
}

PageRun FakeMemorySystem::Describe(Address address) {
  OsCallInfo info{.call = OsCall::kDescribe, .address = address};
  PageRun run;
  Perform(info, [&](const std::optional<Fault>& fault) {
    RawMemoryInformation raw{};
    if (fault || !space_.Inspect(address, &raw, &run)) run = {};
  });
  return run;
}

win32::Error FakeMemorySystem::Load(MemoryLoad* load) {
  OsCallInfo info{.call = OsCall::kLoad};
  Perform(info, [&](const std::optional<Fault>& fault) {
    if (fault) {
      info.error = fault->error;
    } else {
      *load = load_;
    }
  });
  return info.error;
}

void* FakeMemorySystem::AllocateMetadata(std::size_t size) {
  OsCallInfo info{.call = OsCall::kAllocateMetadata, .size = size};
  void* memory = nullptr;
  Perform(info, [&](const std::optional<Fault>& fault) {
    if (fault) return;
    memory = ::operator new(size, kMetadataAlignment);
    std::memset(memory, 0, size);
    live_metadata_.fetch_add(1);
    info.result = ToAddress(memory);
  });
  return memory;
}

void FakeMemorySystem::FreeMetadata(void* memory, std::size_t size) {
  OsCallInfo info{.call = OsCall::kFreeMetadata, .address = ToAddress(memory), .size = size};
  Perform(info, [&](const std::optional<Fault>&) {
    ::operator delete(memory, kMetadataAlignment);
    live_metadata_.fetch_sub(1);
  });
}

AllocateResult FakeMemorySystem::RawAllocate(const AllocateRequest& request) {
  const std::lock_guard lock(mutex_);
  return space_.Allocate(request);
}
win32::Error FakeMemorySystem::RawFree(Address address, std::uint64_t size, std::uint32_t type) {
  const std::lock_guard lock(mutex_);
  return space_.Free(address, size, type);
}
AllocateResult FakeMemorySystem::MapView(Address base, std::uint64_t size, ViewPages pages) {
  const std::lock_guard lock(mutex_);
  return space_.MapView(base, size, pages);
}
std::uint32_t FakeMemorySystem::MakeSection() {
  const std::lock_guard lock(mutex_);
  return space_.MakeSection();
}
AllocateResult FakeMemorySystem::MapSection(std::uint32_t section, std::uint64_t offset, Address base,
                                            std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  return space_.MapSection(section, offset, base, size);
}
void FakeMemorySystem::EndSection(std::uint32_t section) {
  const std::lock_guard lock(mutex_);
  space_.EndSection(section);
}
win32::Error FakeMemorySystem::UnmapView(Address base) {
  const std::lock_guard lock(mutex_);
  return space_.UnmapView(base);
}

void FakeMemorySystem::SetCommitLimit(Bytes limit) {
  const std::lock_guard lock(mutex_);
  space_.SetCommitLimit(limit);
}
void FakeMemorySystem::SetSearchRange(Address low, Address high) {
  const std::lock_guard lock(mutex_);
  space_.SetSearchRange(low, high);
}
void FakeMemorySystem::SetViewsShareCommits(bool share, bool says_so) {
  says_views_share_commits_ = says_so;
  const std::lock_guard lock(mutex_);
  space_.SetViewsShareCommits(share);
}
void FakeMemorySystem::SetNumaNodes(std::uint32_t count) {
  const std::lock_guard lock(mutex_);
  space_.SetNumaNodes(count);
}
void FakeMemorySystem::SetLockMemoryPrivilege(bool held) {
  const std::lock_guard lock(mutex_);
  space_.SetLockMemoryPrivilege(held);
}
void FakeMemorySystem::SetLoad(const MemoryLoad& load) {
  const std::lock_guard lock(mutex_);
  load_ = load;
}

void FakeMemorySystem::Fail(OsCall call, win32::Error error, std::uint64_t skip, std::uint64_t times, Address address) {
  const std::lock_guard lock(mutex_);
  faults_.push_back({call, error, skip, times, address});
}
void FakeMemorySystem::ClearFaults() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
}

void FakeMemorySystem::OnNext(OsCall call, Moment moment, Hook hook, std::uint64_t skip) {
  const std::lock_guard lock(mutex_);
  one_shots_.push_back({call, moment, skip, std::move(hook)});
  hooked_.store(true, std::memory_order_release);
}
void FakeMemorySystem::SetObserver(Hook observer) {
  const std::lock_guard lock(mutex_);
  observer_ = std::move(observer);
  hooked_.store(true, std::memory_order_release);
}

std::uint64_t FakeMemorySystem::Calls(OsCall call) const { return calls_[static_cast<std::size_t>(call)].load(); }
std::uint64_t FakeMemorySystem::AllCalls() const {
  std::uint64_t sum = 0;
  for (const auto& count : calls_) sum += count.load();
  return sum;
}
void FakeMemorySystem::ResetCalls() {
  for (auto& count : calls_) count.store(0);
}
Pages FakeMemorySystem::Committed() const {
  const std::lock_guard lock(mutex_);
  return space_.Committed();
}
Pages FakeMemorySystem::CommittedIn(PageRange range) const {
  const std::lock_guard lock(mutex_);
  return space_.CommittedIn(range);
}
std::size_t FakeMemorySystem::RegionCount() const {
  const std::lock_guard lock(mutex_);
  return space_.RegionCount();
}

}  // namespace clr_host_memory::test
