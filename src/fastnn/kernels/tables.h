/* Coefficients, lowest degree first. Printed by tools/fit_polynomials.py: change that, not this. */

#ifdef FASTNN_F64
/* relative error of the function: 2^-57.0 */
static const fastnn_real FASTNN_EXP_Q[] = {
    0x1p-1,
    0x1.55555555554bdp-3,
    0x1.55555555530e1p-5,
    0x1.111111113822dp-7,
    0x1.6c16c17d16d56p-10,
    0x1.a01a00cd45051p-13,
    0x1.a019aa3b938dap-16,
    0x1.71dffbf945ccep-19,
    0x1.28a06ace098e7p-22,
    0x1.ac23d4a43e5b8p-26};
/* relative error of the function: 2^-59.3 */
static const fastnn_real FASTNN_LOG1P_L[] = {
    0x1.5555555555534p-4,
    0x1.99999999a0933p-7,
    0x1.2492492081d79p-9,
    0x1.c71c742024665p-12,
    0x1.745cb3a1d3d9bp-14,
    0x1.3b1de1054a633p-16,
    0x1.10679371b2df3p-18,
    0x1.efda2e963675ep-21,
    0x1.55ad18c1716aap-23,
    0x1.5c793826fa058p-24};
/* relative error of the function: 2^-55.9 */
static const fastnn_real FASTNN_GELU_N[] = {
    0x1.a70e4a4529bdfp-1,
    0x1.5aa4ed7764347p-1,
    0x1.6be34dc6cb57bp-2,
    0x1.0c6f05c590fbbp-3,
    0x1.2178327a7e0ep-5,
    0x1.cd7d363b5ea5dp-8,
    0x1.0cd517e6b9d73p-10,
    0x1.b7c2530809bd9p-14,
    0x1.cb34e4e7608ap-18,
    0x1.d68ecfa5721c9p-23};
static const fastnn_real FASTNN_GELU_D[] = {
    0x1.39a839f1e5b84p+1,
    0x1.67959545b2be6p+1,
    0x1.fe2fbec4a4ce3p+0,
    0x1.f2defa456379cp-1,
    0x1.61f94c398341cp-2,
    0x1.752f51b788c7ap-4,
    0x1.257bbb03c639bp-6,
    0x1.532dfabace308p-9,
    0x1.142771223a0a6p-12,
    0x1.1fc3dbd340002p-16,
    0x1.26e0df41ca0cdp-21};
#else
/* relative error of the function: 2^-27.9 */
static const fastnn_real FASTNN_EXP_Q[] = {
    0x1p-1f,
    0x1.55548ep-3f,
    0x1.5555b2p-5f,
    0x1.123bcep-7f,
    0x1.6c62c6p-10f};
/* relative error of the function: 2^-27.7 */
static const fastnn_real FASTNN_LOG1P_L[] = {
    0x1.5555p-4f,
    0x1.99d27ep-7f,
    0x1.1eb6cap-9f,
    0x1.1ef28p-11f};
/* relative error of the function: 2^-26.1 */
static const fastnn_real FASTNN_GELU_N[] = {
    0x1.bd47b4p-2f,
    0x1.71fff6p-3f,
    0x1.45bb38p-5f,
    0x1.05345ep-8f};
static const fastnn_real FASTNN_GELU_D[] = {
    0x1.aae608p+0f,
    0x1.311d66p+0f,
    0x1.d9c878p-2f,
    0x1.984656p-4f,
    0x1.475dd4p-7f};
#endif
