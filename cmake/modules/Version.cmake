# clrhm_read_version(<variable>): sets the version of include/clr_host_memory/version.h, such as 0.1.0. The headers have
# the version, so that there is one place to change it.
include_guard(GLOBAL)

set(CLRHM_VERSION_HEADER "${CMAKE_CURRENT_LIST_DIR}/../../include/clr_host_memory/version.h")

function(clrhm_read_version variable)
  file(STRINGS "${CLRHM_VERSION_HEADER}" version REGEX "^#define CLR_HOST_MEMORY_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9;]" "" version "${version}")
  list(JOIN version "." version)
  set(${variable} "${version}" PARENT_SCOPE)
endfunction()
