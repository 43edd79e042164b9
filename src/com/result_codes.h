// Maps outcomes to HRESULTs; no other file does. docs/return-codes.md describes the map.
#ifndef CLRHM_COM_RESULT_CODES_H
#define CLRHM_COM_RESULT_CODES_H

#include <clr_host_memory/memory_manager_abi.h>

#include <cstdint>

#include "base/error_family.h"
#include "base/outcome.h"

namespace clr_host_memory {

// What a method is asked to do, as far as its HRESULTs depend on it: the columns of the error table.
enum class Operation : std::uint8_t {
  kAllocate,  // obtain memory, address space, or a record of it: E_OUTOFMEMORY is documented
  kFree,      // give memory or a reference back: HOST_E_INVALIDOPERATION is documented
  kUse,       // query, protect or control what exists
};

// Returns the documented HRESULT of this outcome. S_OK: the request is done.
[[nodiscard]] HRESULT ToHresult(const Outcome& outcome, Operation operation) noexcept;

// Returns the HRESULT of a counter index.
[[nodiscard]] HRESULT HresultOf(ClrHostMemoryCode code) noexcept;
// Returns the counter index of an HRESULT: one that ToHresult returns, E_POINTER or E_INVALIDARG. S_FALSE counts as
// S_OK, any other code as E_FAIL.
[[nodiscard]] ClrHostMemoryCode CodeIndexOf(HRESULT hr) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_COM_RESULT_CODES_H
