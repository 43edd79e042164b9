// Maps outcomes to HRESULTs; no other file does. docs/return-codes.md describes the map.
#ifndef CLRHM_COM_RESULT_CODES_H
#define CLRHM_COM_RESULT_CODES_H

#include <clr_host_memory/memory_manager_abi.h>

#include "base/error_family.h"
#include "base/outcome.h"

namespace clr_host_memory {

// Returns the documented HRESULT of `method` for this outcome. S_OK: the request is done.
[[nodiscard]] HRESULT ToHresult(const Outcome& outcome, ClrHostMemoryMethod method) noexcept;

// Returns the HRESULT of a counter index.
[[nodiscard]] HRESULT HresultOf(ClrHostMemoryCode code) noexcept;
// Returns the counter index of an HRESULT: one that ToHresult returns, E_POINTER or E_INVALIDARG. S_FALSE counts as
// S_OK, any other code as E_FAIL.
[[nodiscard]] ClrHostMemoryCode CodeIndexOf(HRESULT hr) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_COM_RESULT_CODES_H
