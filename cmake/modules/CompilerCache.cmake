# Uses ccache if it is installed: a second build of the same sources then takes seconds. The cache is in ccache's
# default folder (or CCACHE_DIR), outside the tree.
find_program(CLRHM_CCACHE ccache)
mark_as_advanced(CLRHM_CCACHE)
if(CLRHM_CCACHE AND CMAKE_GENERATOR MATCHES "Ninja|Makefiles" AND NOT MSVC)
  foreach(language C CXX)
    if(NOT CMAKE_${language}_COMPILER_LAUNCHER)
      # The sloppiness lets ccache keep what was compiled with a precompiled header.
      set(CMAKE_${language}_COMPILER_LAUNCHER
          "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros;${CLRHM_CCACHE}")
    endif()
  endforeach()
endif()
