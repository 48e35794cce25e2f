//! The quantised formats: how GGUF stores them, and what they become in memory.
//!
//! Every quantised weight is `scale · (value − offset) + minimum`: an unsigned integer *value*, an
//! *offset* fixed by the format, and for each sub-block of 16 or 32 weights a scale and perhaps a
//! minimum. `Block` is one block of the file taken apart that way. In memory, 16 rows make a strip,
//! whose codes and scales are stored apart; any way to store the one (`Codes`) goes with any way to
//! store the other (`Scales`).
//!
//! | file | what it holds |
//! |---|---|
//! | `block` | a block of the file, taken apart |
//! | `codes` | what a way to store codes offers |
//! | `four_bit` | Q4_0, Q4_1, Q4_K, IQ4_NL, IQ4_XS: in the file, and their codes in a strip |
//! | `five_bit` | Q5_0, Q5_1, Q5_K |
//! | `six_bit` | Q6_K |
//! | `eight_bit` | Q8_0 |
//! | `low_bit` | Q2_K, Q3_K |
//! | `codebook` | IQ1, IQ2, IQ3, TQ1_0, TQ2_0, MXFP4 |
//! | `number` | the types of scales, and of float weights |
//! | `scales` | the scales and minima of a strip |
//! | `strip` | the whole of a strip: packed, and read back |
//! | `inputs` | the inputs of a product, rounded to 8 bits |
//! | `description` | all that for kernels outside this crate |

pub(crate) mod block;
pub(crate) mod codebook;
pub(crate) mod codes;
pub(crate) mod description;
pub(crate) mod eight_bit;
pub(crate) mod five_bit;
pub(crate) mod four_bit;
pub(crate) mod inputs;
pub(crate) mod low_bit;
pub(crate) mod number;
pub(crate) mod scales;
pub(crate) mod six_bit;
pub(crate) mod strip;
