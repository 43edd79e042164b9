# Sanitizers are for the whole program, third-party code compiled here included: a race or an
# overflow seen from one side only is reported wrongly or not at all.
if(CLRHM_SANITIZE)
  string(REPLACE ";" "," _clrhm_sanitizers "${CLRHM_SANITIZE}")
  add_compile_options(-fsanitize=${_clrhm_sanitizers} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${_clrhm_sanitizers})
endif()
