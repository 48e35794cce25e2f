//! Which instructions the kernels may use.
//!
//! A capability ([`Avx2`], [`Avx512`]) is a value that only [`detect`](Avx2::detect) makes, and only
//! when the CPU has every feature it stands for. A kernel that takes one by value is therefore sound
//! to call, and the check is paid once at start, not at each call. [`Isa`] is the choice among them:
//! kernels match on it, and a variant that the target architecture cannot have does not exist, so
//! that adding NEON is one more variant and the compiler then lists the kernels that lack it.

/// The environment variable that forces an instruction set: `scalar`, `avx2` or `avx512`.
pub const ISA_VARIABLE: &str = "MATOU_ISA";

/// Proof that the CPU has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// The capability, if the CPU has it.
    pub fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        present.then_some(Self(()))
    }
}

/// Proof that the CPU has AVX-512 F, BW, VL, DQ, VNNI and VBMI (and all that [`Avx2`] stands for).
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The capability, if the CPU has it.
    pub fn detect() -> Option<Self> {
        let present = Avx2::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vbmi");
        present.then_some(Self(()))
    }
}

/// The instruction set that kernels run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Portable Rust: the reference for the others, and the fallback everywhere.
    Scalar,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 512-bit vectors with 8-bit dot products.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// [`ISA_VARIABLE`] asks for something that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IsaError {
    /// Not the name of an instruction set.
    #[error("{ISA_VARIABLE}={value:?} is not an instruction set: use scalar, avx2 or avx512")]
    Unknown {
        /// What the variable holds.
        value: String,
    },
    /// The name of an instruction set that this CPU does not have.
    #[error(
        "{ISA_VARIABLE}={value} asks for instructions that this CPU lacks; it has: {available}"
    )]
    Unavailable {
        /// What the variable holds.
        value: String,
        /// The names that would work here.
        available: String,
    },
}

impl Isa {
    /// The best instruction set of this CPU.
    pub fn detect() -> Self {
        Self::available()
            .pop()
            .expect("the scalar instruction set is always available")
    }

    /// What [`ISA_VARIABLE`] names if it is set, the best of this CPU otherwise.
    ///
    /// # Errors
    /// The variable names no instruction set, or one that this CPU does not have.
    pub fn from_env_or_detect() -> Result<Self, IsaError> {
        match std::env::var_os(ISA_VARIABLE) {
            Some(value) if !value.is_empty() => Self::from_name(&value.to_string_lossy()),
            _ => Ok(Self::detect()),
        }
    }

    fn from_name(value: &str) -> Result<Self, IsaError> {
        let available = Self::available();
        if let Some(isa) = available.iter().find(|isa| isa.name() == value) {
            return Ok(*isa);
        }
        let value = value.to_owned();
        match value.as_str() {
            "avx2" | "avx512" => Err(IsaError::Unavailable {
                value,
                available: available
                    .iter()
                    .map(Self::name)
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
            _ => Err(IsaError::Unknown { value }),
        }
    }

    /// Every instruction set of this CPU, the best last.
    pub fn available() -> Vec<Self> {
        let mut isas = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            isas.extend(Avx2::detect().map(Self::Avx2));
            isas.extend(Avx512::detect().map(Self::Avx512));
        }
        isas
    }

    /// The name, as [`ISA_VARIABLE`] spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_isa_is_found_by_its_name() {
        for isa in Isa::available() {
            assert_eq!(Isa::from_name(isa.name()).unwrap(), isa);
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_choices() {
        let message = Isa::from_name("sse9").unwrap_err().to_string();
        assert!(message.contains("sse9"), "{message}");
        assert!(message.contains("scalar, avx2 or avx512"), "{message}");
    }

    #[test]
    fn the_best_isa_is_detected() {
        assert_eq!(Some(&Isa::detect()), Isa::available().last());
    }
}
