//! Fields that contain each other by their macros have no end: found when a card is read.

use crate::error::PersonaError;

use super::expand::expand;
use super::values::{Field, Values};

/// Looks for a field that contains itself.
pub(crate) fn check(values: &Values<'_>) -> Result<(), PersonaError> {
    let dry = Values {
        is_dry: true,
        ..values.clone()
    };
    let contained = Field::ALL.map(|field| expand(dry.field(field), field.name(), "", &dry).fields);
    for start in Field::ALL {
        if let Some(path) = back_to(start, &[start], &contained) {
            let fields = path.iter().map(|field| field.name().to_owned());
            return Err(PersonaError::Cycle {
                fields: fields.collect(),
            });
        }
    }
    Ok(())
}

/// The way from the end of `path` back to `start`, if there is one.
fn back_to(start: Field, path: &[Field], contained: &[Vec<Field>; 3]) -> Option<Vec<Field>> {
    let last = *path.last()?;
    contained[last as usize].iter().find_map(|&next| {
        let further: Vec<Field> = path.iter().copied().chain([next]).collect();
        if next == start {
            return Some(further);
        }
        match path.contains(&next) {
            true => None,
            false => back_to(start, &further, contained),
        }
    })
}
