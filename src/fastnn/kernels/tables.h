/* Coefficients, lowest degree first. Printed by tools/fit_polynomials.py: change that, not this. */

#ifdef FASTNN_F64
/* relative error of the function: 2^-55.0 */
static const fastnn_real FASTNN_EXP_Q[] = {
    0x1p-1,
    0x1.555555555552ap-3,
    0x1.5555555553a2dp-5,
    0x1.111111111e1bp-7,
    0x1.6c16c17a42bc3p-10,
    0x1.a01a01540528ep-13,
    0x1.a019b2cf79b7fp-16,
    0x1.71dedb3c4c708p-19,
    0x1.28982aa8d4daep-22,
    0x1.addc01e4c3793p-26};
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
/* relative error of the function: 2^-57.7 */
static const fastnn_real FASTNN_GELU_P[] = {
    0x1.3c630ec0dffep+1,
    0x1.900ed1c52378ap+0,
    0x1.486973dc259f7p-1,
    0x1.7c2625fc4041ap-3,
    0x1.3f52dcaaf9a31p-5,
    0x1.8439d0a2b16d2p-8,
    0x1.49c0354492a02p-11,
    0x1.650659cecd0b3p-15,
    0x1.7bd45758e46dep-20};
static const fastnn_real FASTNN_GELU_Q[] = {
    0x1.b0fa1721a0bbbp+0,
    0x1.6a3ea99e99a84p+0,
    0x1.8420d06d55616p-1,
    0x1.245dbb7a21183p-2,
    0x1.4241ef47558dcp-4,
    0x1.06f32f1c8e38ap-6,
    0x1.3a35dd3e35a74p-9,
    0x1.0849730b5b31fp-12,
    0x1.1cdd553c64396p-16,
    0x1.2f0f601a35f39p-21};
#else
/* relative error of the function: 2^-26.0 */
static const fastnn_real FASTNN_EXP_Q[] = {
    0x1p-1f,
    0x1.5554aep-3f,
    0x1.55557ap-5f,
    0x1.1228c2p-7f,
    0x1.6c9f4p-10f};
/* relative error of the function: 2^-27.7 */
static const fastnn_real FASTNN_LOG1P_L[] = {
    0x1.5555p-4f,
    0x1.99d27ep-7f,
    0x1.1eb6cap-9f,
    0x1.1ef28p-11f};
/* relative error of the function: 2^-30.4 */
static const fastnn_real FASTNN_GELU_P[] = {
    0x1.40296ep+0f,
    0x1.a527b4p-2f,
    0x1.2cd896p-4f,
    0x1.8f8b4p-8f};
static const fastnn_real FASTNN_GELU_Q[] = {
    0x1.14abcp+0f,
    0x1.1f58eep-1f,
    0x1.59646ep-3f,
    0x1.e04ec2p-6f,
    0x1.3ec0a2p-9f};
#endif
