# Uses ccache if it is installed: a second build of the same sources then takes seconds. The cache is in ccache's
# default folder (or CCACHE_DIR), outside the tree.
find_program(CLRHM_CCACHE ccache)
mark_as_advanced(CLRHM_CCACHE)
if(CLRHM_CCACHE AND CMAKE_GENERATOR MATCHES "Ninja|Makefiles" AND NOT MSVC)
  foreach(language C CXX)
    if(NOT CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER "${CLRHM_CCACHE}")
    endif()
  endforeach()
endif()
