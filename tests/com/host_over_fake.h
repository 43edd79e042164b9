// A manager over the fake operating system, with one object of each kind. Each of the thirteen methods is available
// as one call that succeeds, so that suites can loop over the methods.
#ifndef CLRHM_TESTS_COM_HOST_OVER_FAKE_H
#define CLRHM_TESTS_COM_HOST_OVER_FAKE_H

#include <array>
#include <optional>

#include "com/host_memory_manager.h"
#include "heap/private_heap.h"
#include "manager_client.h"
#include "support/fake_memory_system.h"
#include "support/fake_thread_system.h"

namespace clr_host_memory::test {

// A callback that counts notifications. AddRef and Release return 1, as those of the CLR's static object do.
// Single-threaded.
class StaticCallback final : public ICLRMemoryNotificationCallback {
 public:
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID, void** object) noexcept override {
    *object = nullptr;
    return E_NOINTERFACE;
  }
  ULONG STDMETHODCALLTYPE AddRef() noexcept override { return 1; }
  ULONG STDMETHODCALLTYPE Release() noexcept override { return 1; }
  HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable available) noexcept override {
    last = available;
    ++calls;
    return S_OK;
  }
  int calls = 0;
  EMemoryAvailable last{};
};

struct MethodName {
  ClrHostMemoryMethod method;
  const char* name;
};
inline constexpr std::array kMethods = {
    MethodName{kClrHostMemoryCreateMalloc, "CreateMalloc"},
    MethodName{kClrHostMemoryVirtualAlloc, "VirtualAlloc"},
    MethodName{kClrHostMemoryVirtualFree, "VirtualFree"},
    MethodName{kClrHostMemoryVirtualQuery, "VirtualQuery"},
    MethodName{kClrHostMemoryVirtualProtect, "VirtualProtect"},
    MethodName{kClrHostMemoryGetMemoryLoad, "GetMemoryLoad"},
    MethodName{kClrHostMemoryRegisterMemoryNotificationCallback, "RegisterMemoryNotificationCallback"},
    MethodName{kClrHostMemoryNeedsVirtualAddressSpace, "NeedsVirtualAddressSpace"},
    MethodName{kClrHostMemoryAcquiredVirtualAddressSpace, "AcquiredVirtualAddressSpace"},
    MethodName{kClrHostMemoryReleasedVirtualAddressSpace, "ReleasedVirtualAddressSpace"},
    MethodName{kClrHostMemoryMallocAlloc, "IHostMalloc::Alloc"},
    MethodName{kClrHostMemoryMallocDebugAlloc, "IHostMalloc::DebugAlloc"},
    MethodName{kClrHostMemoryMallocFree, "IHostMalloc::Free"},
};
static_assert(kMethods.size() == kClrHostMemoryMethodCount);

struct OperationName {
  Operation operation;
  const char* name;
};
inline constexpr std::array kOperations = {OperationName{Operation::kAllocate, "allocate"},
                                           OperationName{Operation::kFree, "free"},
                                           OperationName{Operation::kUse, "use"}};

// Returns the OS function whose failure the method passes on, or nothing for the notification methods, which make no
// OS call.
inline std::optional<OsCall> SeamOf(ClrHostMemoryMethod method) {
  switch (method) {
    case kClrHostMemoryCreateMalloc: return OsCall::kAllocate;
    case kClrHostMemoryVirtualAlloc: return OsCall::kAllocate;
    case kClrHostMemoryVirtualFree: return OsCall::kFree;
    case kClrHostMemoryVirtualQuery: return OsCall::kQuery;
    case kClrHostMemoryVirtualProtect: return OsCall::kProtect;
    case kClrHostMemoryGetMemoryLoad: return OsCall::kLoad;
    case kClrHostMemoryMallocAlloc:
    case kClrHostMemoryMallocDebugAlloc: return OsCall::kAllocate;
    case kClrHostMemoryMallocFree: return OsCall::kFree;
    default: return std::nullopt;
  }
}

// The result of a call and its effect on the caller's variables.
struct Answer {
  HRESULT hr = E_UNEXPECTED;
  DWORD last_error = 0;
  bool outputs_cleared = true;  // each output that must be null or 0 on failure is so
};

class HostOverFake {
 public:
  static constexpr SIZE_T kRegionSize = 64 * kGranule;
  // Not a small block: the heap asks the OS for each. Under kNothingKept no run is kept for reuse.
  static constexpr SIZE_T kBlock = 5 * kPage;
  static constexpr Limits kNothingKept{.limit = {PrivateHeap::kRoomToKeepRuns}};

  explicit HostOverFake(const Limits& limits = kNothingKept) : manager_(new HostMemoryManager(os, threads, limits)) {
    region_ = Allocate(manager(), nullptr, kRegionSize, MEM_RESERVE, PAGE_NOACCESS);
    page_ = Allocate(manager(), region_, kPage, MEM_COMMIT, PAGE_READWRITE);
    view_ = reinterpret_cast<void*>(static_cast<std::uintptr_t>(os.MapView(0, kGranule, ViewPages::kReserved).address));
    EXPECT_HR(S_OK, manager()->AcquiredVirtualAddressSpace(view_, kGranule));
    EXPECT_HR(S_OK, manager()->CreateMalloc(MALLOC_THREADSAFE, malloc_.Receive()));
    EXPECT_HR(S_OK, malloc_->Alloc(kBlock, eProcessCritical, &block_));
  }

  [[nodiscard]] IHostMemoryManager* manager() const { return manager_.get(); }
  [[nodiscard]] HostMemoryManager& object() const { return *manager_.get(); }
  [[nodiscard]] IHostMalloc* malloc() const { return malloc_.get(); }
  [[nodiscard]] void* region() const { return region_; }  // 64 granules reserved, the first page committed
  [[nodiscard]] void* page() const { return page_; }
  [[nodiscard]] void* view() const { return view_; }
  [[nodiscard]] void* block() const { return block_; }

  // Makes an ordinary call of the method, which succeeds on a healthy host (NeedsVirtualAddressSpace is refused).
  // Frees what it allocated, so the call can be repeated.
  Answer Call(ClrHostMemoryMethod method, EMemoryCriticalLevel level = eTaskCritical);

  FakeMemorySystem os;
  FakeThreadSystem threads;

 private:
  Answer CallAllocator(ClrHostMemoryMethod method, EMemoryCriticalLevel level);

  ComReference<HostMemoryManager> manager_;
  ComReference<IHostMalloc> malloc_;
  void* region_ = nullptr;
  void* page_ = nullptr;
  void* view_ = nullptr;
  void* block_ = nullptr;
};

// Runs call with a known last error and records the last error afterwards.
template <typename Call>
Answer Ask(Call call) {
  Answer answer;
  ::SetLastError(kCallersError);
  answer.hr = call();
  answer.last_error = ::GetLastError();
  return answer;
}

inline Answer HostOverFake::CallAllocator(ClrHostMemoryMethod method, EMemoryCriticalLevel level) {
  void* memory = Poison();
  Answer answer = Ask([&] {
    switch (method) {
      case kClrHostMemoryVirtualAlloc:
        return manager()->VirtualAlloc(At(region_, kGranule), kPage, MEM_COMMIT, PAGE_READWRITE, level, &memory);
      case kClrHostMemoryMallocAlloc: return malloc_->Alloc(kBlock, level, &memory);
      default: return malloc_->DebugAlloc(kBlock, level, nullptr, 0, &memory);
    }
  });
  answer.outputs_cleared = memory == nullptr;
  if (answer.hr != S_OK) return answer;
  if (method == kClrHostMemoryVirtualAlloc) {
    EXPECT_HR(S_OK, manager()->VirtualFree(memory, kPage, MEM_DECOMMIT));
  } else {
    EXPECT_HR(S_OK, malloc_->Free(memory));
  }
  return answer;
}

inline Answer HostOverFake::Call(ClrHostMemoryMethod method, EMemoryCriticalLevel level) {
  switch (method) {
    case kClrHostMemoryCreateMalloc: {
      auto* made = static_cast<IHostMalloc*>(Poison());
      Answer answer = Ask([&] { return manager()->CreateMalloc(MALLOC_THREADSAFE, &made); });
      answer.outputs_cleared = made == nullptr;
      if (answer.hr == S_OK) made->Release();
      return answer;
    }
    case kClrHostMemoryVirtualFree:
      return Ask([&] { return manager()->VirtualFree(At(region_, 2 * kGranule), kPage, MEM_DECOMMIT); });
    case kClrHostMemoryVirtualQuery: {
      MEMORY_BASIC_INFORMATION info{};
      SIZE_T written = 12345;
      Answer answer = Ask([&] { return manager()->VirtualQuery(page_, &info, sizeof(info), &written); });
      answer.outputs_cleared = written == 0;
      return answer;
    }
    case kClrHostMemoryVirtualProtect: {
      DWORD old = 0;
      return Ask([&] { return manager()->VirtualProtect(page_, kPage, PAGE_READWRITE, &old); });
    }
    case kClrHostMemoryGetMemoryLoad: {
      DWORD load = 12345;
      SIZE_T available = 12345;
      threads.Advance(Engine::kDefaultSampling);  // so that the sampler asks the OS again
      Answer answer = Ask([&] { return manager()->GetMemoryLoad(&load, &available); });
      answer.outputs_cleared = load == 0 && available == 0;
      return answer;
    }
    case kClrHostMemoryRegisterMemoryNotificationCallback:
      return Ask([&] { return manager()->RegisterMemoryNotificationCallback(nullptr); });
    case kClrHostMemoryNeedsVirtualAddressSpace:
      return Ask([&] { return manager()->NeedsVirtualAddressSpace(nullptr, kGranule); });
    case kClrHostMemoryAcquiredVirtualAddressSpace:
      return Ask([&] { return manager()->AcquiredVirtualAddressSpace(view_, kGranule); });
    case kClrHostMemoryReleasedVirtualAddressSpace:
      return Ask([&] { return manager()->ReleasedVirtualAddressSpace(At(view_, kPage)); });  // not the base of the view
    case kClrHostMemoryMallocFree: {
      void* freed = block_;
      const Answer answer = Ask([&] { return malloc_->Free(freed); });
      if (answer.hr == S_OK) {
        block_ = nullptr;
        static_cast<void>(malloc_->Alloc(kBlock, eProcessCritical, &block_));
      }
      return answer;
    }
    default: return CallAllocator(method, level);
  }
}

// The ways a manager goes down: shut down by the host, or latched by a broken invariant.
enum class Down { kShutDown, kLatched };

inline void TakeDown(HostOverFake& host, Down how) {
  if (how == Down::kShutDown) {
    EXPECT_HR(S_OK, ControlOf(host.manager())->Shutdown());
    return;
  }
  host.os.OnNext(OsCall::kProtect, Moment::kBefore, [](const OsCallInfo&) { throw 42; });
  EXPECT_HR(E_FAIL, host.Call(kClrHostMemoryVirtualProtect).hr);
}

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_COM_HOST_OVER_FAKE_H
