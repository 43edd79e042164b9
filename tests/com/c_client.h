/* Runs the C client. Returns the line of the first check that failed, or 0. */
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
