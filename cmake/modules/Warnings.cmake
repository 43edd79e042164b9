include_guard(GLOBAL)

# clrhm_target_warnings(<target>)
# Turns on strict warnings for a target of this project; CLRHM_WARNINGS_AS_ERRORS makes them errors. Also links the platform's options
# (cmake/modules/Platform.cmake). Third-party headers are SYSTEM headers, so they cause no warnings.
function(clrhm_target_warnings target)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:clrhm_platform>)
  if(MSVC)
    target_compile_options(
      ${target}
      PRIVATE /W4
              $<$<BOOL:${CLRHM_WARNINGS_AS_ERRORS}>:/WX>
              /external:anglebrackets
              /external:W0
              /wd4127 # a condition is constant: sizeof(void*) is on purpose
              /wd4324 # a struct is padded: alignas(64) is on purpose
              /wd4702) # unreachable code: cl.exe takes it for that after inlining
    if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
      # clang-cl warns about C++20 designated initializers that leave members at their defaults. That is their purpose.
      # It also warns about options of cl.exe that it does not have.
      target_compile_options(${target} PRIVATE -Wno-unused-command-line-argument
                                               -Wno-missing-designated-field-initializers
                                               -Wno-missing-field-initializers
                                               -Wno-unknown-warning-option)
    endif()
    return()
  endif()
  target_compile_options(
    ${target}
    PRIVATE -Wall
            -Wextra
            -Wpedantic
            $<$<BOOL:${CLRHM_WARNINGS_AS_ERRORS}>:-Werror>
            -Wshadow
            -Wconversion
            -Wsign-conversion
            -Wdouble-promotion
            -Wformat=2
            -Wimplicit-fallthrough
            -Wundef
            -Wunused
            # Designated initializers leave members at their defaults on purpose.
            -Wno-missing-field-initializers
            $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual
            -Wextra-semi
            -Wsuggest-override>)
  if(NOT WIN32)
    # Off for Windows: COM interfaces have no virtual destructor, which would add a slot to their vtables.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(
      ${target} PRIVATE -Wduplicated-cond -Wduplicated-branches -Wlogical-op
                        # GetProcAddress requires casts from Win32's generic function pointer.
                        -Wno-cast-function-type
                        # GCC 12 reports a false positive in std::string's own operator+ (GCC bug 105651).
                        -Wno-restrict)
  endif()
endfunction()
