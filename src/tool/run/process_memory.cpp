#include "tool/run/process_memory.h"
#include "com/backend.h"

#include "bridge/thunks/purpose.h"
#include "tool/text/text.h"

#include <windows.h>
// Include after windows.h, which these headers need.
#include <psapi.h>
#include <tlhelp32.h>
#include <winternl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

namespace clr_host_memory::tool {
namespace {

static_assert(kBreakdownPurposes == kClrHostMemoryPurposeCount);

constexpr DWORD kWritable = PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;

std::uint64_t ToNumber(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

struct CloseHandleOf {
  void operator()(HANDLE handle) const noexcept { CloseHandle(handle); }
};
using OwnedHandle = std::unique_ptr<void, CloseHandleOf>;

std::uint64_t AllocationOf(const void* address) {
  MEMORY_BASIC_INFORMATION info{};
  if (VirtualQuery(address, &info, sizeof(info)) == 0 || info.State == MEM_FREE) return 0;
  return ToNumber(info.AllocationBase);
}

bool Has(const std::vector<std::uint64_t>& bases, std::uint64_t base) {
  return std::find(bases.begin(), bases.end(), base) != bases.end();
}

void AddOnce(std::uint64_t base, std::vector<std::uint64_t>* bases) {
  if (base != 0 && !Has(*bases, base)) bases->push_back(base);
}

// Returns the TEB of a thread of this process; null if the thread has ended.
const void* TebOf(DWORD thread_id) {
  // THREAD_BASIC_INFORMATION, the result of ntdll's ThreadBasicInformation (0). winternl.h lacks it.
  struct {
    LONG exit_status;
    void* teb;
    void* process;
    void* thread;
    ULONG_PTR affinity;
    LONG priority;
    LONG base_priority;
  } basic{};
  using QueryThread = LONG(NTAPI*)(HANDLE, int, void*, ULONG, ULONG*);
  static const auto query = reinterpret_cast<QueryThread>(
      reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtQueryInformationThread")));
  const OwnedHandle thread(OpenThread(THREAD_QUERY_INFORMATION, FALSE, thread_id));
  const bool known =
      thread != nullptr && query != nullptr && query(thread.get(), 0, &basic, sizeof(basic), nullptr) >= 0;
  return known ? basic.teb : nullptr;
}

// Adds a thread's stack, its TEB, and the allocations whose base address the TEB contains. Under Wine one of these is
// the thread's second stack.
void AddThread(const void* teb, KnownAllocations* known_allocations) {
  // Reads the TEB with ReadProcessMemory: the thread may end, and its TEB is then freed.
  std::array<std::uintptr_t, 4096 / sizeof(std::uintptr_t)> words{};
  SIZE_T read = 0;
  if (!ReadProcessMemory(GetCurrentProcess(), teb, words.data(), sizeof(words), &read) || read != sizeof(words)) return;
  NT_TIB tib{};
  std::memcpy(&tib, words.data(), sizeof(tib));
  if (tib.StackBase != nullptr)
    AddOnce(AllocationOf(static_cast<const char*>(tib.StackBase) - 1), &known_allocations->stacks);
  AddOnce(AllocationOf(teb), &known_allocations->thread_data);
  for (const std::uintptr_t word : words) {
    const auto* place = reinterpret_cast<const void*>(word);
    if (word != 0 && word % 0x10000 == 0 && AllocationOf(place) == word && !Has(known_allocations->stacks, word)) {
      AddOnce(word, &known_allocations->thread_data);
    }
  }
}

void AddThreads(KnownAllocations* known_allocations) {
  const HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
  if (snapshot == INVALID_HANDLE_VALUE) return;
  const OwnedHandle owned(snapshot);
  THREADENTRY32 entry{};
  entry.dwSize = sizeof(entry);
  for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry)) {
    if (entry.th32OwnerProcessID != GetCurrentProcessId()) continue;
    if (const void* teb = TebOf(entry.th32ThreadID)) AddThread(teb, known_allocations);
  }
}

std::vector<std::uint64_t> ProcessHeaps() {
  std::vector<HANDLE> handles(64);
  DWORD count = GetProcessHeaps(static_cast<DWORD>(handles.size()), handles.data());
  if (count > handles.size()) {
    handles.resize(count);
    count = std::min<DWORD>(GetProcessHeaps(count, handles.data()), count);
  }
  std::vector<std::uint64_t> heaps;
  for (DWORD i = 0; i < count; ++i) heaps.push_back(AllocationOf(handles[i]));
  return heaps;
}

// Whether an allocation begins like a further segment of a heap. Walking the heap instead would take its lock, which
// a hanging thread may hold.
bool BeginsLikeAHeapSegment(std::uint64_t base) {
  constexpr std::uint64_t kSignatureOffset = 2 * sizeof(void*);  // after the HEAP_ENTRY at the start
  std::uint32_t signature = 0;
  SIZE_T read = 0;
  const auto* at = reinterpret_cast<const void*>(static_cast<std::uintptr_t>(base + kSignatureOffset));
  return ReadProcessMemory(GetCurrentProcess(), at, &signature, sizeof(signature), &read) &&
         (signature == 0xFFEEFFEE || signature == 0xDDEEDDEE);
}

std::string ImageName(std::uint64_t base) {
  std::array<wchar_t, 1024> path{};
  const auto module = reinterpret_cast<HMODULE>(static_cast<std::uintptr_t>(base));
  if (K32GetModuleFileNameExW(GetCurrentProcess(), module, path.data(), static_cast<DWORD>(path.size())) == 0)
    return {};
  const std::wstring text = path.data();
  return ToUtf8(text.substr(text.find_last_of(L"\\/") + 1));
}

// A run, and the facts that later determine its purpose.
struct SeenRun {
  MemoryRun run;
  DWORD protect = 0;
  std::optional<BackendRegion> region;  // the manager's region, when any of the run is hosted
};

std::vector<SeenRun> Walk(IClrHostMemoryControl* control, IManagerBackend* client) {
  std::vector<SeenRun> runs;
  MEMORY_BASIC_INFORMATION info{};
  const char* at = nullptr;
  while (VirtualQuery(at, &info, sizeof(info)) != 0 && info.RegionSize != 0) {
    const auto* next = static_cast<const char*>(info.BaseAddress) + info.RegionSize;
    if (info.State == MEM_COMMIT) {
      SeenRun seen;
      seen.run.allocation_base = ToNumber(info.AllocationBase);
      seen.run.size = info.RegionSize;
      seen.run.type = info.Type == MEM_IMAGE    ? MemoryType::kImage
                      : info.Type == MEM_MAPPED ? MemoryType::kMapped
                                                : MemoryType::kPrivate;
      seen.run.writable = (info.Protect & kWritable) != 0;
      seen.run.executable = IsExecutable(info.Protect);
      seen.protect = info.Protect;
      control->GetCharged(info.BaseAddress, info.RegionSize, &seen.run.hosted);
      BackendRegion region{};
      if (seen.run.hosted != 0 && client->FindRegion(info.BaseAddress, &region) == S_OK) seen.region = region;
      runs.push_back(seen);
    }
    if (next <= at) break;
    at = next;
  }
  return runs;
}

std::vector<MemoryRun> WithPurposes(const std::vector<SeenRun>& seen) {
  std::uint64_t largest = 0;
  for (const SeenRun& each : seen) {
    if (each.region && IsGcReservation(*each.region)) largest = std::max(largest, each.region->reserved);
  }
  std::vector<MemoryRun> runs;
  for (const SeenRun& each : seen) {
    runs.push_back(each.run);
    if (each.region) {
      runs.back().purpose = static_cast<std::size_t>(PurposeIn(*each.region, each.protect, largest));
    }
  }
  return runs;
}

// Returns the allocations that have a guard page and that the manager does not host.
std::vector<std::uint64_t> Guarded(const std::vector<SeenRun>& seen) {
  std::vector<std::uint64_t> bases;
  for (const SeenRun& each : seen) {
    const bool is_private = each.run.type == MemoryType::kPrivate && each.run.hosted == 0;
    if (is_private && (each.protect & PAGE_GUARD) != 0) AddOnce(each.run.allocation_base, &bases);
  }
  return bases;
}

KnownAllocations FindKnownAllocations(const std::vector<MemoryRun>& runs, const std::vector<std::uint64_t>& guarded) {
  KnownAllocations known_allocations;
  AddThreads(&known_allocations);
  known_allocations.heaps = ProcessHeaps();
  // A guarded allocation outside the list of threads: the stack of a thread that has ended since, or is just
  // starting.
  for (const std::uint64_t base : guarded) AddOnce(base, &known_allocations.stacks);
  std::uint64_t last = 0;
  for (const MemoryRun& run : runs) {
    if (run.allocation_base == last) continue;
    last = run.allocation_base;
    if (run.type == MemoryType::kImage) known_allocations.images.push_back({last, ImageName(last)});
    if (run.type == MemoryType::kPrivate && run.hosted == 0 && BeginsLikeAHeapSegment(last)) {
      known_allocations.heaps.push_back(last);
    }
  }
  return known_allocations;
}

}  // namespace

ProcessCommit ReadProcessCommit() noexcept {
  PROCESS_MEMORY_COUNTERS_EX counters{};
  counters.cb = sizeof(counters);
  K32GetProcessMemoryInfo(GetCurrentProcess(), reinterpret_cast<PROCESS_MEMORY_COUNTERS*>(&counters), sizeof(counters));
  if (counters.PrivateUsage != 0) return {counters.PrivateUsage, "PrivateUsage"};
  return {counters.PagefileUsage, "PagefileUsage"};
}

MemoryBreakdown BreakDownProcess(const MemoryManager& manager, const ClrHostMemoryStatistics& statistics) {
  const ProcessCommit process = ReadProcessCommit();
  ComReference<IManagerBackend> client;
  if (FAILED(manager.get()->QueryInterface(kIidManagerBackend, reinterpret_cast<void**>(client.Receive())))) {
    return {};
  }
  const std::vector<SeenRun> seen = Walk(manager.control(), client.get());
  const std::vector<MemoryRun> runs = WithPurposes(seen);
  MemoryBreakdown accounting = BreakDown(runs, FindKnownAllocations(runs, Guarded(seen)),
                                         {.process = process.bytes,
                                          .hosted_pages = statistics.charged,
                                          .hosted_heap = statistics.heap_bytes,
                                          .own = statistics.metadata + statistics.headroom_held});
  accounting.process_figure = process.figure;
  return accounting;
}

}  // namespace clr_host_memory::tool
