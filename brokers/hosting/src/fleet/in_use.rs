//! Servers that were opened, each as its file has it now.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use secrecy::ExposeSecret as _;

use super::{Member, Site};
use crate::ServerId;

/// Servers that are in use, by their names. One that its file puts elsewhere is opened anew.
#[derive(Debug)]
pub struct InUse<T>(Mutex<HashMap<ServerId, (Site, T)>>);

impl<T> Default for InUse<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> InUse<T> {
    /// A server, opened if it is not in use yet, or was elsewhere.
    ///
    /// # Errors
    /// That of `open`.
    pub fn at<E>(&self, member: &Member, open: impl FnOnce(&Member) -> Result<T, E>) -> Result<T, E> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((site, known)) = all.get(&member.id)
            && same(site, &member.site)
        {
            return Ok(known.clone());
        }
        let fresh = open(member)?;
        all.insert(member.id.clone(), (member.site.clone(), fresh.clone()));
        Ok(fresh)
    }

    /// All that are in use, in the order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<(ServerId, T)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut listed: Vec<_> = all.iter().map(|(id, (_, server))| (id.clone(), server.clone())).collect();
        listed.sort_by(|(a, _), (b, _)| a.cmp(b));
        listed
    }
}

fn same(one: &Site, other: &Site) -> bool {
    match (one, other) {
        (Site::Own, Site::Own) => true,
        (Site::Given(one), Site::Given(other)) => {
            one.url.expose_secret() == other.url.expose_secret() && one.trust == other.trust
        }
        (Site::Own, Site::Given(_)) | (Site::Given(_), Site::Own) => false,
    }
}
