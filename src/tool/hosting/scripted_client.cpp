#include "tool/hosting/scripted_client.h"

#include "com/com_object.h"
#include "tool/text/text.h"

#include <clr_host_memory/memory_manager.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>

namespace clr_host_memory::tool {
namespace {

constexpr SIZE_T kPage = 4096;
constexpr SIZE_T kGranularity = 64 * 1024;
constexpr SIZE_T kMebibyte = 1024 * 1024;
constexpr SIZE_T kSegment = 256 * kMebibyte;  // reservation of a 64-bit workstation GC for its first segment

// The client's notification callback. It is static and never destroyed, like the CLR's callback.
class NotificationCallback final
    : public ComObject<NotificationCallback,
                       Implements<ICLRMemoryNotificationCallback, kIidClrMemoryNotificationCallback>> {
 public:
  HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable /*available*/) noexcept override { return S_OK; }

 private:
  friend ComObject;
  void End() noexcept {}
};
NotificationCallback g_callback;

std::string Answered(const char* call, HRESULT hr) {
  return std::string(call) + " returned " + HexCode(static_cast<std::uint32_t>(hr));
}

// The problem of a step; empty if the step passed.
using Problem = std::string;

#define CLRHM_STEP_CHECK(condition, problem) \
  do {                                       \
    if (!(condition)) return (problem);      \
  } while (false)

// Memory of one VirtualAlloc call, released by the destructor.
class Block {
 public:
  Block(IHostMemoryManager& manager, void* address, SIZE_T size, DWORD type, DWORD protect,
        EMemoryCriticalLevel level = eTaskCritical)
      : manager_(manager) {
    // The CLR does not initialise its out parameter, so this client passes a garbage value.
    memory_ = reinterpret_cast<void*>(std::uintptr_t{1});
    hr_ = manager.VirtualAlloc(address, size, type, protect, level, &memory_);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    if (hr_ == S_OK && memory_ != nullptr) manager_.VirtualFree(memory_, 0, MEM_RELEASE);
  }
  [[nodiscard]] bool ok() const { return hr_ == S_OK && memory_ != nullptr; }
  [[nodiscard]] bool refused() const { return hr_ == E_OUTOFMEMORY && memory_ == nullptr; }
  [[nodiscard]] HRESULT hr() const { return hr_; }
  [[nodiscard]] char* at(SIZE_T offset) const { return static_cast<char*>(memory_) + offset; }
  // Releases the memory and returns the answer.
  HRESULT Release() {
    const HRESULT hr = manager_.VirtualFree(memory_, 0, MEM_RELEASE);
    memory_ = nullptr;
    return hr;
  }

 private:
  IHostMemoryManager& manager_;
  void* memory_;
  HRESULT hr_;
};

HRESULT Commit(IHostMemoryManager& manager, char* address, SIZE_T size, DWORD protect, EMemoryCriticalLevel level,
               void** memory) {
  *memory = reinterpret_cast<void*>(std::uintptr_t{1});
  return manager.VirtualAlloc(address, size, MEM_COMMIT, protect, level, memory);
}

DWORD StateOf(IHostMemoryManager& manager, void* address) {
  MEMORY_BASIC_INFORMATION info{};
  SIZE_T length = 0;
  const HRESULT hr = manager.VirtualQuery(address, &info, sizeof(info), &length);
  return FAILED(hr) || length != sizeof(info) ? 0 : info.State;
}

Problem GcSegment(IHostMemoryManager& manager) {
  Block segment(manager, nullptr, kSegment, MEM_RESERVE, PAGE_READWRITE, eProcessCritical);
  CLRHM_STEP_CHECK(segment.ok(), Answered("the reservation", segment.hr()));
  void* memory = nullptr;
  HRESULT hr = Commit(manager, segment.at(0), 4 * kGranularity, PAGE_READWRITE, eTaskCritical, &memory);
  CLRHM_STEP_CHECK(hr == S_OK && memory == segment.at(0), Answered("the commit", hr));
  std::memset(segment.at(0), 0x5A, 4 * kGranularity);
  hr = Commit(manager, segment.at(0), 4 * kGranularity, PAGE_READWRITE, eTaskCritical, &memory);
  CLRHM_STEP_CHECK(hr == S_OK, Answered("the commit of committed pages", hr));
  CLRHM_STEP_CHECK(*segment.at(kPage) == 0x5A, "the commit of committed pages changed them");
  hr = manager.VirtualFree(segment.at(2 * kGranularity), kGranularity, MEM_DECOMMIT);
  CLRHM_STEP_CHECK(hr == S_OK, Answered("the decommit", hr));
  CLRHM_STEP_CHECK(StateOf(manager, segment.at(2 * kGranularity)) == MEM_RESERVE, "decommitted pages are not reserved");
  CLRHM_STEP_CHECK(StateOf(manager, segment.at(kGranularity)) == MEM_COMMIT,
                   "the pages beside the decommitted ones are not committed");
  hr = segment.Release();
  CLRHM_STEP_CHECK(hr == S_OK, Answered("the release", hr));
  return {};
}

Problem GcReset(IHostMemoryManager& manager) {
  Block block(manager, nullptr, kGranularity, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  CLRHM_STEP_CHECK(block.ok(), Answered("the allocation", block.hr()));
  void* memory = nullptr;
  const HRESULT hr = manager.VirtualAlloc(block.at(0), kGranularity, MEM_RESET, PAGE_READWRITE, eTaskCritical, &memory);
  CLRHM_STEP_CHECK(hr == S_OK, Answered("MEM_RESET", hr));
  return {};
}

Problem GcWriteWatch(IHostMemoryManager& manager) {
  // If write watch is refused, the GC does without concurrent collections. Both answers are correct.
  const Block probe(manager, nullptr, kGranularity, MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
  CLRHM_STEP_CHECK(probe.ok() || FAILED(probe.hr()), Answered("the probe", probe.hr()));
  return {};
}

Problem JitBlock(IHostMemoryManager& manager) {
  Block block(manager, nullptr, 3 * kPage + 100, MEM_COMMIT, PAGE_READWRITE, eProcessCritical);
  CLRHM_STEP_CHECK(block.ok(), Answered("MEM_COMMIT with a null address", block.hr()));
  std::memset(block.at(0), 1, 4 * kPage);
  const HRESULT hr = block.Release();
  CLRHM_STEP_CHECK(hr == S_OK, Answered("MEM_RELEASE", hr));
  return {};
}

Problem LoaderHeap(IHostMemoryManager& manager) {
  Block heap(manager, nullptr, kGranularity, MEM_RESERVE, PAGE_NOACCESS, eProcessCritical);
  CLRHM_STEP_CHECK(heap.ok(), Answered("the reservation", heap.hr()));
  void* memory = nullptr;
  // Neither address nor size is page-aligned: Win32 commits every page they touch.
  HRESULT hr = Commit(manager, heap.at(100), kPage, PAGE_EXECUTE_READWRITE, eProcessCritical, &memory);
  CLRHM_STEP_CHECK(hr == S_OK && memory == heap.at(0), Answered("the commit of a prefix", hr));
  std::memset(heap.at(0), 1, 2 * kPage);
  hr = Commit(manager, heap.at(2 * kPage), kPage, PAGE_NOACCESS, eProcessCritical, &memory);
  CLRHM_STEP_CHECK(hr == S_OK, Answered("the commit of a guard page", hr));
  DWORD old_protect = 0;
  hr = manager.VirtualProtect(heap.at(0), kPage, PAGE_EXECUTE_READ, &old_protect);
  CLRHM_STEP_CHECK(hr == S_OK && old_protect == PAGE_EXECUTE_READWRITE, Answered("VirtualProtect", hr));
  return {};
}

Problem Stubs(IHostMemoryManager& manager) {
  const Block stubs(manager, nullptr, kGranularity, MEM_RESERVE | MEM_TOP_DOWN, PAGE_EXECUTE_READWRITE,
                    eProcessCritical);
  CLRHM_STEP_CHECK(stubs.ok(), Answered("MEM_RESERVE|MEM_TOP_DOWN", stubs.hr()));
  return {};
}

// Queries for free space near the code and reserves exactly there, as the CLR does.
Problem NearCode(IHostMemoryManager& manager) {
  auto address = reinterpret_cast<std::uintptr_t>(&g_callback) & ~(kGranularity - 1);
  for (int tries = 0; tries < 4096; ++tries) {
    MEMORY_BASIC_INFORMATION info{};
    SIZE_T length = 0;
    const HRESULT hr = manager.VirtualQuery(reinterpret_cast<void*>(address), &info, sizeof(info), &length);
    CLRHM_STEP_CHECK(SUCCEEDED(hr), Answered("VirtualQuery", hr));
    const auto end = reinterpret_cast<std::uintptr_t>(info.BaseAddress) + info.RegionSize;
    const std::uintptr_t next = (end + kGranularity - 1) & ~(kGranularity - 1);
    if (info.State != MEM_FREE || end < address + kGranularity) {
      address = next;
      continue;
    }
    auto* wanted = reinterpret_cast<void*>(address);
    const Block near_block(manager, wanted, kGranularity, MEM_RESERVE, PAGE_EXECUTE_READWRITE, eProcessCritical);
    CLRHM_STEP_CHECK(near_block.ok() && near_block.at(0) == wanted, Answered("the reservation", near_block.hr()));
    const Block lost(manager, wanted, kGranularity, MEM_RESERVE, PAGE_EXECUTE_READWRITE, eProcessCritical);
    CLRHM_STEP_CHECK(lost.refused(), Answered("the second reservation at the same address", lost.hr()));
    return {};
  }
  return "there is no free space";
}

Problem ForeignMemory(IHostMemoryManager& manager) {
  int on_the_stack = 0;
  CLRHM_STEP_CHECK(StateOf(manager, &on_the_stack) == MEM_COMMIT, "VirtualQuery does not show the stack as committed");
  CLRHM_STEP_CHECK(StateOf(manager, GetModuleHandleW(nullptr)) == MEM_COMMIT,
                   "VirtualQuery does not show an image as committed");
  void* foreign = ::VirtualAlloc(nullptr, kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  DWORD old_protect = 0;
  const HRESULT protected_hr = manager.VirtualProtect(foreign, kPage, PAGE_READONLY, &old_protect);
  const HRESULT freed_hr = manager.VirtualFree(foreign, 0, MEM_RELEASE);
  const bool freed = ::VirtualFree(foreign, 0, MEM_RELEASE) != FALSE;
  CLRHM_STEP_CHECK(protected_hr == S_OK && old_protect == PAGE_READWRITE, Answered("VirtualProtect", protected_hr));
  CLRHM_STEP_CHECK(freed_hr == HOST_E_INVALIDOPERATION, Answered("VirtualFree of foreign memory", freed_hr));
  CLRHM_STEP_CHECK(freed, "VirtualFree freed foreign memory");
  return {};
}

Problem HostHeap(IHostMalloc& heap) {
  void* block = nullptr;
  HRESULT hr = heap.Alloc(100, eTaskCritical, &block);
  CLRHM_STEP_CHECK(hr == S_OK && block != nullptr, Answered("Alloc", hr));
  std::memset(block, 1, 100);
  hr = heap.Free(block);
  CLRHM_STEP_CHECK(hr == S_OK, Answered("Free", hr));
  std::array<char, 8> file{"clr.cpp"};
  hr = heap.DebugAlloc(5000, eProcessCritical, file.data(), 1, &block);
  CLRHM_STEP_CHECK(hr == S_OK && block != nullptr, Answered("DebugAlloc", hr));
  hr = heap.Free(block);
  CLRHM_STEP_CHECK(hr == S_OK, Answered("Free", hr));
  hr = heap.Free(nullptr);
  CLRHM_STEP_CHECK(hr == S_OK, Answered("Free of null", hr));
  hr = heap.Free(&file);
  CLRHM_STEP_CHECK(hr == HOST_E_INVALIDOPERATION, Answered("Free of foreign memory", hr));
  return {};
}

ClrHostMemoryStatistics StatisticsOf(IClrHostMemoryControl& control) {
  ClrHostMemoryStatistics statistics{};
  statistics.size = sizeof(statistics);
  control.GetStatistics(&statistics);
  return statistics;
}

// Requests address space, as a CLR that is short of it does. S_OK is correct only if a reserve of address space was
// released.
Problem NeedAddressSpace(IHostMemoryManager& manager, IClrHostMemoryControl& control) {
  const ClrHostMemoryStatistics before = StatisticsOf(control);
  const HRESULT hr = manager.NeedsVirtualAddressSpace(nullptr, kGranularity);
  const bool given = StatisticsOf(control).address_space_uses > before.address_space_uses;
  CLRHM_STEP_CHECK(hr == (given ? S_OK : E_OUTOFMEMORY), Answered("NeedsVirtualAddressSpace", hr));
  CLRHM_STEP_CHECK(given || before.address_space_held < kGranularity,
                   "the held reserve of address space was not released");
  return {};
}

Problem MappedFile(IHostMemoryManager& manager) {
  HANDLE mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0, kGranularity, nullptr);
  CLRHM_STEP_CHECK(mapping != nullptr, "a section cannot be created");
  void* view = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, kGranularity);
  CloseHandle(mapping);
  CLRHM_STEP_CHECK(view != nullptr, "a view cannot be mapped");
  const HRESULT acquired = manager.AcquiredVirtualAddressSpace(view, kGranularity);
  UnmapViewOfFile(view);
  const HRESULT released = manager.ReleasedVirtualAddressSpace(view);
  CLRHM_STEP_CHECK(acquired == S_OK, Answered("AcquiredVirtualAddressSpace", acquired));
  CLRHM_STEP_CHECK(released == S_OK, Answered("ReleasedVirtualAddressSpace", released));
  return {};
}

Problem MemoryLoad(IHostMemoryManager& manager) {
  DWORD load = 1000;
  SIZE_T available = 0;
  const HRESULT hr = manager.GetMemoryLoad(&load, &available);
  CLRHM_STEP_CHECK(hr == S_OK && load <= 100, Answered("GetMemoryLoad", hr));
  return {};
}

// Grows the heap until the limit refuses, after a wait if the host allows one. The CLR turns the refusal into an
// OutOfMemoryException and continues.
Problem GrowToTheLimit(IHostMemoryManager& manager, IClrHostMemoryControl& control) {
  const ClrHostMemoryStatistics before = StatisticsOf(control);
  const std::uint64_t limit = before.limit;
  const SIZE_T reserved = static_cast<SIZE_T>(limit) + 16 * kMebibyte;
  Block heap(manager, nullptr, reserved, MEM_RESERVE, PAGE_READWRITE, eProcessCritical);
  CLRHM_STEP_CHECK(heap.ok(), Answered("the reservation", heap.hr()));
  void* memory = nullptr;
  HRESULT hr = S_OK;
  SIZE_T grown = 0;
  while (grown < reserved && hr == S_OK) {
    hr = Commit(manager, heap.at(grown), kMebibyte, PAGE_READWRITE, eTaskCritical, &memory);
    if (hr == S_OK) grown += kMebibyte;
  }
  const bool waited = StatisticsOf(control).waits_timed_out[eTaskCritical] > before.waits_timed_out[eTaskCritical];
  CLRHM_STEP_CHECK(hr == (waited ? HOST_E_TIMEOUT : E_OUTOFMEMORY) && memory == nullptr,
                   Answered("the commit above the limit", hr));
  CLRHM_STEP_CHECK(grown <= limit, "more than the limit was committed");
  hr = manager.VirtualFree(heap.at(0), grown, MEM_DECOMMIT);
  CLRHM_STEP_CHECK(grown == 0 || hr == S_OK, Answered("the decommit", hr));
  hr = Commit(manager, heap.at(0), kMebibyte, PAGE_READWRITE, eTaskCritical, &memory);
  CLRHM_STEP_CHECK(limit < 2 * kMebibyte || hr == S_OK, Answered("a commit after memory was released", hr));
  return {};
}

}  // namespace

bool ScriptedRun::AllPassed() const {
  for (const ScriptedStep& step : steps) {
    if (!step.passed) return false;
  }
  return !steps.empty();
}

ScriptedRun PlayDesktopClr(IHostMemoryManager& manager) {
  ScriptedRun run;
  const auto play = [&](const char* name, const std::function<Problem()>& step) {
    Problem problem = step();
    const bool passed = problem.empty();
    run.steps.push_back({name, passed, std::move(problem)});
  };

  ComReference<IHostMalloc> heap;
  play("start: create the heap", [&]() -> Problem {
    const HRESULT hr = manager.CreateMalloc(MALLOC_THREADSAFE, heap.Receive());
    CLRHM_STEP_CHECK(hr == S_OK && heap, Answered("CreateMalloc", hr));
    return {};
  });
  play("start: register the memory notification callback", [&]() -> Problem {
    const HRESULT hr = manager.RegisterMemoryNotificationCallback(&g_callback);
    CLRHM_STEP_CHECK(hr == S_OK, Answered("RegisterMemoryNotificationCallback", hr));
    return {};
  });
  play("GC: reserve a segment, commit, commit again, decommit, release", [&] { return GcSegment(manager); });
  play("GC: reset unused pages", [&] { return GcReset(manager); });
  play("GC: probe for write watch", [&] { return GcWriteWatch(manager); });
  play("JIT: commit without a reservation", [&] { return JitBlock(manager); });
  play("loader heap: commit a prefix and a guard page, protect", [&] { return LoaderHeap(manager); });
  play("stubs: reserve from the top down", [&] { return Stubs(manager); });
  play("code heap: find free space near the code and reserve it", [&] { return NearCode(manager); });
  play("other code's memory: query, protect, free", [&] { return ForeignMemory(manager); });
  if (heap) play("heap: allocate and free", [&] { return HostHeap(*heap.get()); });
  ComReference<IClrHostMemoryControl> control;
  const bool has_control =
      SUCCEEDED(manager.QueryInterface(kIidClrHostMemoryControl, reinterpret_cast<void**>(control.Receive())));
  if (has_control) {
    play("mapped file: request address space", [&] { return NeedAddressSpace(manager, *control.get()); });
  }
  play("mapped file: announce the view and its end", [&] { return MappedFile(manager); });
  play("GC: query the memory load", [&] { return MemoryLoad(manager); });
  if (has_control && StatisticsOf(*control.get()).limit != CLR_HOST_MEMORY_NO_LIMIT) {
    play("GC: grow the heap to the limit, receive a refusal, shrink, grow",
         [&] { return GrowToTheLimit(manager, *control.get()); });
  }
  return run;
}

std::string FormatSteps(const ScriptedRun& run) {
  std::string text;
  for (const ScriptedStep& step : run.steps) {
    text += (step.passed ? "  ok     " : "  FAILED ") + step.name + (step.passed ? "" : ": " + step.problem) + "\n";
  }
  return text;
}

}  // namespace clr_host_memory::tool
