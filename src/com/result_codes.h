// The one place where outcomes become HRESULTs. docs/return-codes.md is its prose.
#ifndef CLRHM_COM_RESULT_CODES_H
#define CLRHM_COM_RESULT_CODES_H

#include <clr_host_memory/memory_manager_abi.h>

#include "base/error_family.h"
#include "base/outcome.h"

namespace clr_host_memory {

// The documented HRESULT of `method` for this outcome; S_OK when it is done.
[[nodiscard]] HRESULT ToHresult(const Outcome& outcome, ClrHostMemoryMethod method) noexcept;

// The HRESULT a counter index stands for.
[[nodiscard]] HRESULT HresultOf(ClrHostMemoryCode code) noexcept;
// The counter index of an HRESULT that ToHresult can give, E_POINTER or E_INVALIDARG.
[[nodiscard]] ClrHostMemoryCode CodeIndexOf(HRESULT hr) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_COM_RESULT_CODES_H
