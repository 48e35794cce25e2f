//! What requests may ask of a model beyond its name.

use matou_llm::Llm;

use crate::error::ApiError;

/// Embeddings have the model's own length: its first numbers alone mean nothing.
pub(crate) fn check_dimensions(llm: &Llm, wanted: Option<i64>) -> Result<(), ApiError> {
    let length = llm.engine().model_info().hidden_size;
    match wanted {
        Some(wanted) if usize::try_from(wanted) != Ok(length) => {
            let message = format!(
                "`dimensions` must be {length}: this model was not trained for embeddings that \
                 can be shortened."
            );
            Err(ApiError::unsupported("dimensions", message))
        }
        _ => Ok(()),
    }
}
