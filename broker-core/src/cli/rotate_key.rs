//! `rotate-key`: a new key for the records (SPEC S-8).

#[cfg(feature = "postgres")]
use super::timing::Lease;
use super::{
    About,
    records::{Place, Records},
};
use crate::State;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct RotateKey {
    #[command(flatten)]
    records: Records,
    #[cfg(feature = "postgres")]
    #[command(flatten)]
    lease: Lease,
}

impl RotateKey {
    pub(super) const ABOUT: &str = "Seal the records with a new key and forget the old one.\n\n\
        The broker must not run; of a broker with several replicas, none. Records in a database take the new key from \
        the key file of this machine: copy it to the other replicas before they are started again. Interrupted anywhere, \
        the records open, and the same command finishes what was begun.";

    pub(super) async fn run(self, about: About) -> anyhow::Result<()> {
        match self.records.place(about)? {
            Place::Folder(folder) => {
                State::rotate_key(&folder).await?;
                println!("the records in {} are sealed with a new key", folder.display());
            }
            #[cfg(feature = "postgres")]
            Place::Database(url, key_file) => {
                State::rotate_database_key(&url, &key_file, self.lease.length()).await?;
                println!(
                    "the records in the database are sealed with a new key, copy {} to all replicas",
                    key_file.display()
                );
            }
        }
        Ok(())
    }
}
