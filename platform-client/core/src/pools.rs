//! What a sysadmin prepares: platforms, pools, plans.

use std::sync::Arc;

use crate::{
    App, Error, Plan, PlanName, Platform, PlatformImage, PlatformName, Pool, PoolChange, PoolName, Progress, Result,
    Target, TargetType, User,
    operation::{Journal, Operation},
    records::Kept,
};

/// The least memory a plan may have, in bytes: less and no unit starts.
const LEAST_MEMORY: u64 = 4 << 20;

impl Platform {
    /// Platforms, by name; disabled ones are for administrators only.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn platforms(&self, user: &User) -> Result<Vec<PlatformImage>> {
        let all = self.records.all::<PlatformImage>().await?;
        Ok(all.into_iter().filter(|platform| user.admin || !platform.disabled).collect())
    }

    /// One platform.
    ///
    /// # Errors
    /// When there is no such platform.
    pub async fn platform(&self, name: &PlatformName) -> Result<PlatformImage> {
        Ok(self.kept_platform(name).await?.into_inner())
    }

    async fn kept_platform(&self, name: &PlatformName) -> Result<Kept<PlatformImage>> {
        let platform = self.records.get::<PlatformImage>(name.as_str()).await?;
        platform.ok_or_else(|| Error::NotFound("Platform doesn't exist.".to_owned()))
    }

    /// Makes a platform's first image from a Dockerfile's text.
    ///
    /// # Errors
    /// When there is one of that name, the build fails, or the user is no administrator.
    pub async fn add_platform(
        self: &Arc<Self>,
        user: &User,
        name: PlatformName,
        dockerfile: &str,
        progress: &Progress,
    ) -> Result<()> {
        let operation = self.begin_platform(user, "platform.create", &name, progress).await?;
        let outcome = self.build_first(&name, dockerfile, progress).await;
        operation.end(outcome).await
    }

    async fn build_first(&self, name: &PlatformName, dockerfile: &str, progress: &Progress) -> Result<()> {
        let taken =
            || Error::Exists(format!("Duplicate platform: \"{name}\" exists already, see `tsuru platform update`"));
        if self.records.get::<PlatformImage>(name.as_str()).await?.is_some() {
            return Err(taken());
        }
        let image = self.engine.build_platform(name, 1, dockerfile, progress).await?;
        self.records.insert(PlatformImage { name: name.clone(), disabled: false, images: vec![image] }, taken).await?;
        progress.line("Platform successfully added!");
        Ok(())
    }

    /// Makes a platform's next image, or enables or disables it. Apps get it with their next deploy.
    ///
    /// # Errors
    /// When it is unknown, the build fails, or the user is no administrator.
    pub async fn update_platform(
        self: &Arc<Self>,
        user: &User,
        name: &PlatformName,
        dockerfile: Option<&str>,
        disabled: Option<bool>,
        progress: &Progress,
    ) -> Result<()> {
        let operation = self.begin_platform(user, "platform.update", name, progress).await?;
        let outcome = self.build_next(name, dockerfile, disabled, progress).await;
        operation.end(outcome).await
    }

    async fn build_next(
        &self,
        name: &PlatformName,
        dockerfile: Option<&str>,
        disabled: Option<bool>,
        progress: &Progress,
    ) -> Result<()> {
        let mut platform = self.kept_platform(name).await?;
        if let Some(dockerfile) = dockerfile {
            let version = u32::try_from(platform.images.len()).unwrap_or(u32::MAX).saturating_add(1);
            let image = self.engine.build_platform(name, version, dockerfile, progress).await?;
            platform.images.push(image);
        }
        platform.disabled = disabled.unwrap_or(platform.disabled);
        self.records.save(&mut platform).await?;
        progress.line("Platform successfully updated!");
        Ok(())
    }

    /// Removes a platform that no app uses, and its images.
    ///
    /// # Errors
    /// When it is unknown or in use, or the user is no administrator.
    pub async fn remove_platform(self: &Arc<Self>, user: &User, name: &PlatformName) -> Result<()> {
        let operation = self.begin_platform(user, "platform.delete", name, &Progress::silent()).await?;
        let outcome = self.delete_platform(name).await;
        operation.end(outcome).await
    }

    async fn delete_platform(&self, name: &PlatformName) -> Result<()> {
        let platform = self.kept_platform(name).await?;
        let apps = self.records.all::<App>().await?;
        if let Some(app) = apps.iter().find(|app| app.platform.as_ref() == Some(name)) {
            return Err(Error::Exists(format!(
                "Platform {name} has apps, such as {}. You should remove them before remove the platform.",
                app.name
            )));
        }
        self.records.commit(&[platform.delete()]).await?;
        for image in &platform.images {
            self.forget_image(image).await;
        }
        Ok(())
    }

    async fn begin_platform(
        self: &Arc<Self>,
        user: &User,
        kind: &str,
        name: &PlatformName,
        progress: &Progress,
    ) -> Result<Operation> {
        if !user.admin {
            return Err(Error::Forbidden);
        }
        self.begin(user, kind, vec![Target::new(TargetType::Platform, name)], Journal::Nothing, progress).await
    }

    /// All pools, by name.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn pools(&self) -> Result<Vec<Pool>> {
        self.records.all().await
    }

    /// Registers a pool.
    ///
    /// # Errors
    /// When there is one of that name or another default one, or the user is no administrator.
    pub async fn create_pool(&self, user: &User, pool: Pool) -> Result<()> {
        if !user.admin {
            return Err(Error::Forbidden);
        }
        if pool.default && self.pools().await?.iter().any(|known| known.default) {
            return Err(Error::Precondition("Default pool already exists.".to_owned()));
        }
        self.records.insert(pool, || Error::Exists("Pool already exists.".to_owned())).await
    }

    /// Changes a pool.
    ///
    /// # Errors
    /// When it is unknown, there is another default one that it is not forced to replace, or the
    /// user is no administrator.
    pub async fn update_pool(&self, user: &User, name: &PoolName, change: PoolChange) -> Result<()> {
        if !user.admin {
            return Err(Error::Forbidden);
        }
        let pools = self.records.list::<Pool>(crate::ports::Page::default()).await?;
        let (named, others): (Vec<_>, Vec<_>) = pools.into_iter().partition(|pool| pool.name == *name);
        let mut pool = named.into_iter().next().ok_or_else(|| Error::NotFound("Pool does not exist.".to_owned()))?;
        let mut writes = Vec::new();
        if change.default == Some(true) {
            for mut former in others.into_iter().filter(|pool| pool.default) {
                if !change.force {
                    return Err(Error::Precondition("Default pool already exists.".to_owned()));
                }
                former.default = false;
                writes.push(former.put()?);
            }
        }
        pool.public = change.public.unwrap_or(pool.public);
        pool.default = change.default.unwrap_or(pool.default);
        if let Some(teams) = change.teams {
            pool.teams = teams;
        }
        self.records.save_with(&mut pool, writes).await
    }

    /// Removes a pool that no app is in.
    ///
    /// # Errors
    /// When it is unknown or in use, or the user is no administrator.
    pub async fn remove_pool(&self, user: &User, name: &PoolName) -> Result<()> {
        if !user.admin {
            return Err(Error::Forbidden);
        }
        let pool = self.records.get::<Pool>(name.as_str()).await?;
        let pool = pool.ok_or_else(|| Error::NotFound("Pool does not exist.".to_owned()))?;
        if self.records.all::<App>().await?.iter().any(|app| app.pool == *name) {
            return Err(Error::Refused(
                "This pool has apps, you need to migrate or remove them before removing the pool.".to_owned(),
            ));
        }
        self.records.commit(&[pool.delete()]).await
    }

    /// All app plans, by name.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn plans(&self) -> Result<Vec<Plan>> {
        self.records.all().await
    }

    /// Registers an app plan; a default one takes the place of the default before.
    ///
    /// # Errors
    /// When there is one of that name, its memory is too small, or the user is no administrator.
    pub async fn create_plan(&self, user: &User, plan: Plan) -> Result<()> {
        if !user.admin {
            return Err(Error::Forbidden);
        }
        if plan.memory != 0 && plan.memory < LEAST_MEMORY {
            return Err(Error::invalid("The minimum allowed memory is 4MB."));
        }
        let mut writes = Vec::new();
        if plan.default {
            for mut former in self.records.list::<Plan>(crate::ports::Page::default()).await? {
                if former.default && former.name != plan.name {
                    former.default = false;
                    writes.push(former.put()?);
                }
            }
        }
        if self.records.get::<Plan>(plan.name.as_str()).await?.is_some() {
            return Err(Error::Exists("plan already exists".to_owned()));
        }
        self.records.save_with(&mut Kept::new(plan), writes).await
    }

    /// Removes an app plan that no app has.
    ///
    /// # Errors
    /// When it is unknown or in use, or the user is no administrator.
    pub async fn remove_plan(&self, user: &User, name: &PlanName) -> Result<()> {
        if !user.admin {
            return Err(Error::Forbidden);
        }
        let plan = self.records.get::<Plan>(name.as_str()).await?;
        let plan = plan.ok_or_else(|| Error::NotFound("plan not found".to_owned()))?;
        if let Some(app) = self.records.all::<App>().await?.iter().find(|app| app.plan == *name) {
            return Err(Error::Refused(format!(
                "plan \"{name}\" is used by app {}, give it another plan first",
                app.name
            )));
        }
        self.records.commit(&[plan.delete()]).await
    }
}
