# ccache, where there is one, makes a second build of the same sources a matter of seconds. Its
# folder is its own default one (or CCACHE_DIR), outside the tree.
find_program(CLRHM_CCACHE ccache)
mark_as_advanced(CLRHM_CCACHE)
if(CLRHM_CCACHE AND CMAKE_GENERATOR MATCHES "Ninja|Makefiles" AND NOT MSVC)
  foreach(language C CXX)
    if(NOT CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER "${CLRHM_CCACHE}")
    endif()
  endforeach()
endif()
