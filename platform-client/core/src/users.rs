//! Users, teams and sessions.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString},
};
use broker_core::Secret;
use chrono::Utc;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::{App, Email, Error, Platform, Pool, Result, ServiceInstance, Team, TeamName, Token, User, records::Kept};

impl Platform {
    /// The user whose token this is.
    ///
    /// # Errors
    /// When the token is unknown or expired.
    pub async fn authenticate(&self, token: &Secret) -> Result<User> {
        let refused = || Error::Unauthenticated("You must provide a valid Authorization header".to_owned());
        let token = self.records.get::<Token>(&digest(token)).await?.ok_or_else(refused)?;
        if token.expires_at <= Utc::now() {
            self.records.commit(&[token.delete()]).await?;
            return Err(refused());
        }
        let user = self.records.get::<User>(token.user.as_str()).await?.ok_or_else(refused)?;
        Ok(user.into_inner())
    }

    /// Logs a user in: a new token.
    ///
    /// # Errors
    /// When the user is unknown or the password wrong.
    pub async fn login(&self, email: &Email, password: Secret) -> Result<Secret> {
        let user = self.records.get::<User>(email.as_str()).await?;
        let user = user.ok_or_else(|| Error::NotFound("user not found".to_owned()))?;
        let hash = user.password.clone();
        let right = off_thread(move || is_password(&password, &hash)).await?;
        if !right {
            return Err(Error::Unauthenticated("Authentication failed, wrong password.".to_owned()));
        }
        self.issue_token(&user).await
    }

    async fn issue_token(&self, user: &User) -> Result<Secret> {
        let value = Secret::from(hex::encode(rand::random::<[u8; 20]>()));
        let created_at = Utc::now();
        let token = Token {
            digest: digest(&value),
            user: user.email.clone(),
            created_at,
            expires_at: created_at + self.settings.token_lifetime,
        };
        self.records.insert(token, || Error::Exists("token already exists".to_owned())).await?;
        Ok(value)
    }

    /// Ends a session. An unknown token is a success.
    ///
    /// # Errors
    /// When the records can't be written.
    pub async fn logout(&self, token: &Secret) -> Result<()> {
        match self.records.get::<Token>(&digest(token)).await? {
            Some(token) => self.records.commit(&[token.delete()]).await,
            None => Ok(()),
        }
    }

    /// Makes a user; the first one, an administrator, is made by the daemon itself.
    ///
    /// # Errors
    /// When there is one of that address, or the password has not 6 to 50 characters.
    pub async fn create_user(&self, email: Email, password: Secret, admin: bool) -> Result<()> {
        let taken = Error::Exists("This email is already registered.".to_owned());
        let user = User { email, password: hashed(password).await?, admin, teams: Vec::new() };
        self.records.insert(user, || taken).await
    }

    /// Changes a user's own password.
    ///
    /// # Errors
    /// When the old one is wrong, or the new one has not 6 to 50 characters.
    pub async fn change_password(&self, email: &Email, old: Secret, new: Secret) -> Result<()> {
        let user = self.records.get::<User>(email.as_str()).await?;
        let mut user = user.ok_or_else(|| Error::NotFound("user not found".to_owned()))?;
        let hash = user.password.clone();
        if !off_thread(move || is_password(&old, &hash)).await? {
            return Err(Error::Refused("The given password didn't match the user's current password.".to_owned()));
        }
        user.password = hashed(new).await?;
        self.records.save(&mut user).await
    }

    /// A user by address.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn user(&self, email: &Email) -> Result<User> {
        let user = self.records.get::<User>(email.as_str()).await?;
        user.map(Kept::into_inner).ok_or_else(|| Error::NotFound("user not found".to_owned()))
    }

    /// All users, by address.
    ///
    /// # Errors
    /// When the asking user is no administrator.
    pub async fn users(&self, user: &User) -> Result<Vec<User>> {
        let all = self.records.all::<User>().await?;
        Ok(all.into_iter().filter(|known| user.admin || known.email == user.email).collect())
    }

    /// Whether there is any user yet.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn has_users(&self) -> Result<bool> {
        Ok(!self.records.all::<User>().await?.is_empty())
    }

    /// Removes a user and ends their sessions.
    ///
    /// # Errors
    /// When there is no such user, or the asking one is no administrator.
    pub async fn remove_user(&self, user: &User, email: &Email) -> Result<()> {
        if !user.admin && user.email != *email {
            return Err(Error::Forbidden);
        }
        let gone = self.records.get::<User>(email.as_str()).await?;
        let gone = gone.ok_or_else(|| Error::NotFound("user not found".to_owned()))?;
        let tokens = self.records.list::<Token>(crate::ports::Page::default()).await?;
        let mut writes = vec![gone.delete()];
        writes.extend(tokens.iter().filter(|token| token.user == *email).map(Kept::delete));
        self.records.commit(&writes).await
    }

    /// Teams that the user belongs to, or all for an administrator; by name.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn teams(&self, user: &User) -> Result<Vec<Team>> {
        let all = self.records.all::<Team>().await?;
        Ok(all.into_iter().filter(|team| user.reaches(std::slice::from_ref(&team.name))).collect())
    }

    /// The members of a team that the user may see, by address.
    ///
    /// # Errors
    /// When there is no such team, or the user does not belong to it.
    pub async fn team_members(&self, user: &User, team: &TeamName) -> Result<(Team, Vec<User>)> {
        let unknown = || Error::NotFound(format!("Team \"{team}\" not found."));
        let found = self.records.get::<Team>(team.as_str()).await?.ok_or_else(unknown)?.into_inner();
        if !user.reaches(std::slice::from_ref(team)) {
            return Err(Error::Forbidden);
        }
        let mut members = self.records.all::<User>().await?;
        members.retain(|member| member.teams.contains(team));
        Ok((found, members))
    }

    /// Makes a team; its maker belongs to it.
    ///
    /// # Errors
    /// When there is one of that name.
    pub async fn create_team(&self, user: &User, name: TeamName, tags: Vec<String>) -> Result<()> {
        let team = Team { name: name.clone(), tags: crate::create::clean_tags(tags) };
        self.records.insert(team, || Error::Exists("team already exists".to_owned())).await?;
        self.set_member(&user.email, &name, true).await
    }

    /// Makes a user belong to a team, or no longer.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn set_member(&self, email: &Email, team: &TeamName, member: bool) -> Result<()> {
        let user = self.records.get::<User>(email.as_str()).await?;
        let mut user = user.ok_or_else(|| Error::NotFound("user not found".to_owned()))?;
        user.teams.retain(|known| known != team);
        if member {
            user.teams.push(team.clone());
        }
        self.records.save(&mut user).await
    }

    /// Removes a team that owns nothing.
    ///
    /// # Errors
    /// When it is unknown, still uses something, or the user does not belong to it.
    pub async fn remove_team(self: &Arc<Self>, user: &User, name: &TeamName) -> Result<()> {
        if !user.reaches(std::slice::from_ref(name)) {
            return Err(Error::Forbidden);
        }
        let team = self.records.get::<Team>(name.as_str()).await?;
        let team = team.ok_or_else(|| Error::NotFound(format!("Team \"{name}\" not found.")))?;
        let apps = self.records.all::<App>().await?;
        let instances = self.records.all::<ServiceInstance>().await?;
        let pools = self.records.all::<Pool>().await?;
        let used = apps.iter().any(|app| app.teams.contains(name))
            || instances.iter().any(|instance| instance.teams.contains(name))
            || pools.iter().any(|pool| pool.teams.contains(name));
        if used {
            return Err(Error::Refused(format!(
                "Team \"{name}\" still has apps, service instances or pools. Remove them or give them to another team first."
            )));
        }
        let mut writes = vec![team.delete()];
        for mut member in self.records.list::<User>(crate::ports::Page::default()).await? {
            if member.teams.contains(name) {
                member.teams.retain(|known| known != name);
                writes.push(member.put()?);
            }
        }
        self.records.commit(&writes).await
    }
}

fn digest(token: &Secret) -> String {
    hex::encode(Sha256::digest(token.expose()))
}

async fn hashed(password: Secret) -> Result<Secret> {
    if !(6..=50).contains(&password.expose().chars().count()) {
        return Err(Error::invalid("Password length should be least 6 characters and at most 50 characters."));
    }
    off_thread(move || {
        let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(unhashable)?;
        let hash = Argon2::default().hash_password(password.expose().as_bytes(), &salt).map_err(unhashable)?;
        Ok(Secret::from(hash.to_string()))
    })
    .await?
}

fn is_password(password: &Secret, hash: &Secret) -> bool {
    let Ok(hash) = PasswordHash::new(hash.expose()) else { return false };
    Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok()
}

fn unhashable(error: argon2::password_hash::Error) -> Error {
    Error::Store(error.to_string().into())
}

/// Passwords that are hashed at the same time: each takes 19 MiB, and anybody may try to log in.
static HASHING: Semaphore = Semaphore::const_new(4);

/// Hashing takes tens of milliseconds of a core: not on a thread that serves others.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let _turn = HASHING.acquire().await.map_err(|closed| Error::Store(closed.into()))?;
    tokio::task::spawn_blocking(work).await.map_err(|panicked| Error::Store(panicked.into()))
}
