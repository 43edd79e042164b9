#include "bridge/state/heap_owners.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/patch/import_patch.h"
#include "bridge/patch/import_table.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"
#include "bridge/state/bridge_client.h"
#include "bridge/thunks/thunk_table.h"
#include "com/backend.h"
#include "os/windows/kept_last_error.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {
namespace {

constexpr std::size_t kMostHeaps = 64;
constexpr DWORD kQuietMilliseconds = 1000;
constexpr DWORD kGuardMilliseconds = 1000;

// An entry of the table of heaps. retiring is guarded by the lock: a thread holds the entry's reference and waits to
// release it.
struct Owner {
  std::atomic<IHeapBackend*> heap{nullptr};
  bool retiring = false;
};

// A set of thunks (BorderHooksOf) and the module whose imports point at it. A patch is never destroyed at the end of
// the process: threads may pass through these imports as long as the process lives.
struct Guard {
  HMODULE module = nullptr;      // also of a guard that was removed: a late call finds the same originals
  ImportPatch* patch = nullptr;  // null: not in use
  bool is_hooked_over = false;   // at its removal: another tool's hook leads here for the rest of the process
};

constinit std::array<Owner, kMostHeaps> owners{};
constinit std::atomic<std::size_t> owner_count{0};  // end of the entries that were ever used
constinit std::atomic<IHeapBackend*> serving_heap{nullptr};
constinit SrwLock owners_lock;  // guards changes of the table; no other lock is taken under it
constinit std::array<Guard, kMaxGuardedModules> guards{};
constinit SrwLock guards_lock;  // the loader lock is taken under it

// Acquires guards_lock with a time limit: the thread that holds it may wait for the loader lock, which the caller may
// hold. The result holds no lock if the time was not enough.
[[nodiscard]] std::unique_lock<SrwLock> LockGuards() noexcept {
  std::unique_lock lock(guards_lock, std::defer_lock);
  const ULONGLONG start = GetTickCount64();
  while (!lock.try_lock() && GetTickCount64() - start < kGuardMilliseconds) Sleep(1);
  return lock;
}

// Calls visit(heap) for every heap until visit returns true; returns whether it did. Nearly always there is one heap.
template <typename Visitor>
bool FindOwner(Visitor visit) noexcept {
  const std::size_t count = owner_count.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    IHeapBackend* heap = owners[i].heap.load(std::memory_order_seq_cst);
    if (heap != nullptr && visit(*heap)) return true;
  }
  return false;
}

// Returns whether heap has blocks in use, or cannot report them. The heap must give out no more blocks, and no call
// that began before it stopped may be inside. Then its blocks do not move.
[[nodiscard]] bool HasBlocks(IHeapBackend& heap) noexcept {
  ClrHostMemoryHeapFigures figures{};
  figures.size = sizeof(figures);
  return heap.GetFigures(&figures) != S_OK || figures.blocks != 0;
}

// ---- The borders

[[nodiscard]] bool IsBlockFunction(std::string_view name) noexcept {
  return name == "malloc" || name == "calloc" || name == "realloc" || name == "free";
}

// Lists the C run-times that the imports of malloc and related functions lead to. False: one cannot be determined, or
// one is a debug C run-time.
bool FindCRuntimes(const std::vector<NamedImport>& imports, std::vector<HMODULE>* runtimes) {
  const auto add = [runtimes](HMODULE module) {
    if (std::find(runtimes->begin(), runtimes->end(), module) == runtimes->end()) runtimes->push_back(module);
  };
  for (const NamedImport& import : imports) {
    if (!IsCRuntimeLibrary(import.library) || !IsBlockFunction(import.name)) continue;
    if (IsDebugCRuntimeLibrary(import.library)) return false;
    // Look up the function by name, through API sets and forwarders: the import itself may point at another tool's
    // hook.
    const HMODULE library = GetModuleHandleA(std::string(import.library).c_str());
    const FARPROC function = library == nullptr ? nullptr : GetProcAddress(library, std::string(import.name).c_str());
    const HMODULE named = function == nullptr ? nullptr : ModuleOf(reinterpret_cast<const void*>(function));
    if (named == nullptr) return false;
    add(named);
    // If two C run-times have the same name, the module may be bound to the other one.
    const HMODULE bound = ModuleOf(*static_cast<void* volatile*>(import.slot));
    if (bound != nullptr && IsCRuntimeLibrary(Utf8(BaseName(ModulePath(bound))))) add(bound);
  }
  return true;
}

// Tracks one of the C run-time's own blocks through its functions. Returns whether each call arrived at set, to which
// the run-time's imports point. In that case a block of the manager would arrive there, too. The manager's blocks are
// not used for this test: a block that bypasses set would end up in a heap of the OS.
bool ComesBy(HMODULE runtime, ThunkModule& set) noexcept {
  const auto function_of = [runtime](const char* name) {
    return reinterpret_cast<void*>(GetProcAddress(runtime, name));
  };
  const auto malloc = reinterpret_cast<void*(__cdecl*)(std::size_t)>(function_of("malloc"));
  const auto realloc = reinterpret_cast<void*(__cdecl*)(void*, std::size_t)>(function_of("realloc"));
  const auto size_of = reinterpret_cast<std::size_t(__cdecl*)(void*)>(function_of("_msize"));
  const auto free = reinterpret_cast<void(__cdecl*)(void*)>(function_of("free"));
  if (malloc == nullptr || free == nullptr) return false;
  const KeptLastError kept;
  for (const std::size_t size : {std::size_t{24}, std::size_t{40000}}) {
    void* block = malloc(size);
    if (block == nullptr) return false;
    const auto seen = [&](auto use) {
      set.awaited.store(block, std::memory_order_relaxed);
      use();
      return set.awaited.exchange(nullptr, std::memory_order_relaxed) == nullptr;
    };
    bool all_seen = size_of == nullptr || seen([&] { static_cast<void>(size_of(block)); });
    if (realloc != nullptr) {
      void* moved = nullptr;
      all_seen = seen([&] { moved = realloc(block, 2 * size); }) && all_seen;
      if (moved != nullptr) block = moved;
    }
    if (!seen([&] { free(block); }) || !all_seen) return false;
  }
  return true;
}

// Restores the guard's imports. Called under the lock.
void TakeBack(Guard& guard) noexcept {
  if (guard.patch == nullptr) return;
  guard.is_hooked_over = guard.patch->Undo() != 0;
  delete guard.patch;
  guard.patch = nullptr;
}

// Guards one module. Called under the lock. A C run-time must have all borders, and its functions must be seen to use
// them.
HRESULT GuardModule(HMODULE module, bool is_runtime) {
  const bool guarded = std::any_of(guards.begin(), guards.end(), [module](const Guard& guard) {
    return guard.module == module && guard.patch != nullptr && guard.patch->IsIntact();
  });
  if (guarded) return S_OK;
  // A thread that was on its way to a removed guard calls that guard's originals. It is best if they belong to the
  // same module.
  const auto fitness = [module](const Guard& guard) {
    if (guard.patch != nullptr || guard.is_hooked_over) return 0;
    return guard.module == module ? 3 : guard.module == nullptr ? 2 : 1;
  };
  const auto guard = std::max_element(guards.begin(), guards.end(), [&](const Guard& left, const Guard& right) {
    return fitness(left) < fitness(right);
  });
  if (fitness(*guard) == 0) return S_FALSE;
  const auto index = static_cast<std::size_t>(guard - guards.begin());
  auto patch = std::make_unique<ImportPatch>();
  std::string ignored;
  const std::vector<ImportHook> hooks = BorderHooksOf(index);
  std::vector<const char*> required;
  if (is_runtime) {
    for (const ImportHook& hook : hooks) required.push_back(hook.name);
  }
  const HRESULT hr = ImportPatch::Apply(module, hooks, required, patch.get(), &ignored);
  guard->module = module;
  guard->patch = patch.release();
  if (SUCCEEDED(hr) && (!is_runtime || ComesBy(module, GuardedModule(index)))) return S_OK;
  TakeBack(*guard);
  return hr == E_OUTOFMEMORY ? hr : S_FALSE;
}

}  // namespace

IHeapBackend* ServingHeap() noexcept { return serving_heap.load(std::memory_order_seq_cst); }

bool FreeIfOwned(void* memory) noexcept {
  return FindOwner([&](IHeapBackend& owner) { return owner.FreeIfOwned(memory) != S_FALSE; });
}

SIZE_T SizeIfOwned(const void* memory) noexcept {
  SIZE_T size = 0;
  static_cast<void>(FindOwner([&](IHeapBackend& owner) { return owner.GetSize(memory, &size) == S_OK; }));
  return size;
}

Resized ResizeIfOwned(void* memory, SIZE_T size, uint32_t flags, void** resized) noexcept {
  *resized = nullptr;
  Resized result = Resized::kNotOwned;
  static_cast<void>(FindOwner([&](IHeapBackend& owner) {
    HRESULT hr = HOST_E_CLRNOTAVAILABLE;
    if (&owner == ServingHeap()) {
      hr = owner.Reallocate(memory, size, flags, eProcessCritical, resized);
      if (hr == S_FALSE) return false;
    } else {
      SIZE_T ignored = 0;
      if (owner.GetSize(memory, &ignored) != S_OK) return false;
    }
    result = hr == S_OK ? Resized::kDone : hr == HOST_E_CLRNOTAVAILABLE ? Resized::kNotServed : Resized::kRefused;
    return true;
  }));
  return result;
}

bool ServeFrom(IHeapBackend* heap) noexcept {
  const std::lock_guard lock(owners_lock);
  const auto free = std::find_if(owners.begin(), owners.end(),
                                 [](const Owner& owner) { return owner.heap.load() == nullptr && !owner.retiring; });
  if (free == owners.end()) return false;
  heap->AddRef();
  free->heap.store(heap, std::memory_order_seq_cst);
  const auto used = static_cast<std::size_t>(free - owners.begin()) + 1;
  if (used > owner_count.load()) owner_count.store(used, std::memory_order_release);
  // Publish the heap last: its blocks can be freed as soon as they exist.
  serving_heap.store(heap, std::memory_order_seq_cst);
  return true;
}

void StopServing() noexcept { serving_heap.store(nullptr, std::memory_order_seq_cst); }

void RetireHeaps() noexcept {
  std::array<IHeapBackend*, kMostHeaps> leaving{};
  {
    const std::lock_guard lock(owners_lock);
    for (std::size_t i = 0; i < owners.size(); ++i) {
      IHeapBackend* heap = owners[i].heap.load();
      if (heap == nullptr || heap == ServingHeap() || HasBlocks(*heap)) continue;
      owners[i].retiring = true;
      leaving[i] = owners[i].heap.exchange(nullptr, std::memory_order_seq_cst);
    }
  }
  // No new call sees these heaps. A call that is inside may have seen them. So release them after each of those calls
  // has left, or in a later RetireHeaps.
  const bool any_leaves = std::any_of(leaving.begin(), leaving.end(), [](auto* heap) { return heap != nullptr; });
  const bool quiet = any_leaves && WaitUntilNoCallIsInside(kQuietMilliseconds);
  {
    const std::lock_guard lock(owners_lock);
    for (std::size_t i = 0; i < owners.size(); ++i) {
      if (leaving[i] == nullptr) continue;
      owners[i].retiring = false;
      if (!quiet) owners[i].heap.store(leaving[i], std::memory_order_seq_cst);
    }
  }
  for (IHeapBackend* heap : leaving) {
    if (heap != nullptr && quiet) heap->Release();
  }

  const std::unique_lock<SrwLock> lock = LockGuards();
  if (!lock) return;
  // A bridge that was attached meanwhile adds its heap to the table before it guards any module.
  const bool any_left = FindOwner([](IHeapBackend&) { return true; });
  if (any_left) return;
  for (Guard& guard : guards) TakeBack(guard);
}

HRESULT GuardBlocksOf(HMODULE module) noexcept try {
  std::vector<NamedImport> imports;
  std::vector<HMODULE> runtimes;
  std::string ignored;
  if (FAILED(ReadNamedImports(module, &imports, &ignored)) || !FindCRuntimes(imports, &runtimes)) return S_FALSE;
  const auto has = [&imports](std::string_view name) {
    return std::any_of(imports.begin(), imports.end(), [name](const NamedImport& import) {
      return import.name == name && IsWin32BaseLibrary(import.library);
    });
  };
  if (has("HeapAlloc") && !has("HeapFree")) return S_FALSE;

  const std::unique_lock<SrwLock> lock = LockGuards();
  if (!lock) return S_FALSE;
  for (const HMODULE runtime : runtimes) {
    if (const HRESULT hr = GuardModule(runtime, true); hr != S_OK) return hr;
  }
  const std::vector<ImportHook> borders = BorderHooksOf(0);
  const bool has_border =
      std::any_of(borders.begin(), borders.end(), [&](const ImportHook& hook) { return has(hook.name); });
  return has_border ? GuardModule(module, false) : S_OK;
} catch (const std::bad_alloc&) {
  return E_OUTOFMEMORY;
}

}  // namespace clr_host_memory
