# Sanitizers apply to the whole program, including third-party code compiled here. If only one side of a race or an
# overflow is instrumented, the sanitizer reports it wrongly or not at all.
if(CLRHM_SANITIZE)
  string(REPLACE ";" "," _clrhm_sanitizers "${CLRHM_SANITIZE}")
  add_compile_options(-fsanitize=${_clrhm_sanitizers} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${_clrhm_sanitizers})
endif()
