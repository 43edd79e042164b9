// A row of the table of thunks: the name of a function, its body, and the modules whose import of it is replaced.
//
// A body's first parameter is its thunk. The others are those of the function it replaces:
//
//   BOOL CloseHandle(Thunk<decltype(::CloseHandle)>& thunk, HANDLE handle) noexcept
//
// A row makes an entry for each module: a function with the replaced function's exact type, which calls the body with
// that module's thunk.
#ifndef CLRHM_BRIDGE_THUNKS_THUNK_ROW_H
#define CLRHM_BRIDGE_THUNKS_THUNK_ROW_H

#include <windows.h>

#include <array>
#include <cstddef>
#include <utility>

#include "bridge/thunks/thunk.h"

namespace clr_host_memory {

// Whose imports are replaced.
enum class ThunkKind {
  kPlain,        // those of every bridged module
  kGivesBlocks,  // those of a bridged module that gets blocks; its calls count as requests of kClrHostMemoryNativeHeap
  kFreesBlocks,  // those of a bridged module that gets blocks
  kBorder,       // those of a guarded module (heap_owners.h)
};

enum class ImportedFrom { kWin32Base, kCRuntime };

struct ThunkRow {
  const char* name;
  ThunkKind kind;
  ImportedFrom library;
  // Return the thunk and the entry of a bridged module with that index; for kBorder, of a guarded module.
  ThunkState& (*thunk)(std::size_t index) noexcept;
  void* (*entry)(std::size_t index) noexcept;
};

namespace internal {

template <typename Function, std::size_t kFirst, std::size_t... kIndex>
constexpr std::array<Thunk<Function>, sizeof...(kIndex)> MakeThunks(std::index_sequence<kIndex...>) noexcept {
  return {Thunk<Function>{{thunk_modules[kFirst + kIndex]}}...};
}

// The thunks and entries of one row.
template <auto kBody, ThunkKind kKind, ImportedFrom kLibrary, typename Function, typename Result, typename... Arguments>
class ThunkSet {
 public:
  static ThunkState& ThunkOf(std::size_t index) noexcept { return thunks[index]; }
  static void* EntryOf(std::size_t index) noexcept {
    static constexpr auto kEntries = MakeEntries(Indices());
    return reinterpret_cast<void*>(kEntries[index]);
  }

 private:
  static constexpr bool kIsBorder = kKind == ThunkKind::kBorder;
  using Indices = std::make_index_sequence<kIsBorder ? kMaxGuardedModules : kMaxBridgedModules>;

  static inline constinit std::array<Thunk<Function>, Indices::size()> thunks =
      MakeThunks<Function, kIsBorder ? kMaxBridgedModules : 0>(Indices());

  template <std::size_t kIndex>
  static Result WINAPI EnterWin32(Arguments... arguments) {
    return kBody(thunks[kIndex], arguments...);
  }
  template <std::size_t kIndex>
  static Result __cdecl EnterC(Arguments... arguments) {
    return kBody(thunks[kIndex], arguments...);
  }
  // The conversion to Function* is a check: a body that does not fit the replaced function does not compile.
  template <std::size_t... kIndex>
  static constexpr std::array<Function*, sizeof...(kIndex)> MakeEntries(std::index_sequence<kIndex...>) noexcept {
    if constexpr (kLibrary == ImportedFrom::kCRuntime) {
      return {&EnterC<kIndex>...};
    } else {
      return {&EnterWin32<kIndex>...};
    }
  }
};

template <auto kBody, ThunkKind kKind, ImportedFrom kLibrary, typename Function, typename Result, typename... Arguments>
constexpr ThunkRow MakeRow(const char* name, Result (*)(Thunk<Function>&, Arguments...)) noexcept {
  using Set = ThunkSet<kBody, kKind, kLibrary, Function, Result, Arguments...>;
  return {name, kKind, kLibrary, &Set::ThunkOf, &Set::EntryOf};
}

}  // namespace internal

// Makes the row of the function called name. The name must have static storage.
template <auto kBody, ThunkKind kKind = ThunkKind::kPlain>
constexpr ThunkRow Win32Row(const char* name) noexcept {
  return internal::MakeRow<kBody, kKind, ImportedFrom::kWin32Base>(name, kBody);
}
template <auto kBody, ThunkKind kKind>
constexpr ThunkRow CRuntimeRow(const char* name) noexcept {
  return internal::MakeRow<kBody, kKind, ImportedFrom::kCRuntime>(name, kBody);
}

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_THUNK_ROW_H
