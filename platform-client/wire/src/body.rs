//! How a body is read: leniently.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Defines bodies: structs whose every field may be absent or `null` when they are read.
macro_rules! body {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $(
                $(#[$field_doc])*
                #[serde(default, deserialize_with = "crate::body::or_default")]
                pub $field: $type,
            )*
        }
    )*};
}
pub(crate) use body;
