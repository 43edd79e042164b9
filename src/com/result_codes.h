// The one place where outcomes become HRESULTs. docs/return-codes.md is its prose.
#ifndef CLRHM_COM_RESULT_CODES_H
#define CLRHM_COM_RESULT_CODES_H

#include <clr_host_memory/clr_host_memory.h>

#include "base/outcome.h"

namespace clr_host_memory {

// What kind of refusal a Win32 error is.
enum class ErrorFamily {
  kMemory,     // no memory, commit charge, quota or system resources
  kPlacement,  // that address is not to be had
  kRequest,    // the request as such is not possible: wrong argument, not permitted
  kTimeout,    // a wait ended at its deadline
  kAbandoned,  // a wait was cancelled
  kNotOwner,   // the caller does not own what it acts on
  kUnlisted,   // no document names it for these functions
};
[[nodiscard]] ErrorFamily FamilyOf(win32::Error error) noexcept;

// The documented HRESULT of `method` for this outcome; S_OK when it is done.
[[nodiscard]] HRESULT ToHresult(const Outcome& outcome, ClrHostMemoryMethod method) noexcept;

// The counter index of an HRESULT that ToHresult can give, E_POINTER or E_INVALIDARG.
[[nodiscard]] ClrHostMemoryCode CodeIndexOf(HRESULT hr) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_COM_RESULT_CODES_H
