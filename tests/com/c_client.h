/* What the C client reports back: the first line that was not as expected, or 0. */
#ifndef CLRHM_TESTS_COM_C_CLIENT_H
#define CLRHM_TESTS_COM_C_CLIENT_H

#ifdef __cplusplus
extern "C" {
#endif
int RunCClient(void);
#ifdef __cplusplus
}
#endif

#endif
