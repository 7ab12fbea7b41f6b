//! `service bind APP INSTANCE`: binding without naming the service.
//!
//! INSTANCE is the instance of that name, whatever its service. If there is none, it may be a service: then the
//! caller's only instance of it is meant, or a new one. Whatever could mean two things is refused, with what to type
//! instead. Own addition to the contract's long form, which works here too.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::Args;
use platform_wire::{AppInfo, ListedInstance, ServiceListing};

use super::{
    AppFlag,
    instance::{self, HowToUnbind},
    service::listings,
};
use crate::{
    client::{Api, Call},
    session::Tsuru,
};

/// `service bind APP INSTANCE`, or `service bind SERVICE INSTANCE -a APP`
#[derive(Args, Debug)]
#[command(
    override_usage = "tsuru service bind <APP> <INSTANCE>\n       tsuru service bind <SERVICE> <INSTANCE> -a <APP>",
    after_help = "INSTANCE may also be the name of a service: then your only instance of it is bound, or, if you have \
                  none, a new one that is named after the app.\n\n\
                  Examples:\n  tsuru service bind blog redis\n  tsuru service bind redis cache -a blog"
)]
pub(crate) struct Bind {
    #[command(flatten)]
    words: Words,
    /// Leave the units as they are until the next restart
    #[arg(long)]
    no_restart: bool,
}

/// `service unbind APP INSTANCE`, or `service unbind SERVICE INSTANCE -a APP`
#[derive(Args, Debug)]
#[command(
    override_usage = "tsuru service unbind <APP> <INSTANCE>\n       tsuru service unbind <SERVICE> <INSTANCE> -a <APP>",
    after_help = "INSTANCE may also be the name of a service, when only one instance of it is bound to the app."
)]
pub(crate) struct Unbind {
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    how: HowToUnbind,
}

#[derive(Args, Debug)]
struct Words {
    /// The app; or the service, when the app is given with -a
    first: String,
    /// The instance, or the service
    second: Option<String>,
    #[command(flatten)]
    app: AppFlag,
}

/// What was typed.
enum Meant<'a> {
    Long { service: &'a str, instance: &'a str, app: &'a str },
    Short { app: &'a str, name: &'a str },
}

impl Words {
    fn meant(&self) -> Result<Meant<'_>> {
        match (self.app.given(), self.first.as_str(), self.second.as_deref()) {
            (Some(app), service, Some(instance)) => Ok(Meant::Long { service, instance, app }),
            (Some(app), name, None) | (None, app, Some(name)) => Ok(Meant::Short { app, name }),
            (None, _, None) => bail!("name the app and the instance: tsuru service bind APP INSTANCE"),
        }
    }
}

impl Bind {
    pub(super) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let (app, name) = match self.words.meant()? {
            Meant::Long { service, instance, app } => {
                return instance::bind(tsuru, service, instance, app, self.no_restart).await;
            }
            Meant::Short { app, name } => (app, name),
        };
        let api = tsuru.api()?;
        let services = listings(&api, Call::get("1.0", &["services", "instances"])).await?;
        match choose(&services, name, "bind", app, |_| true)? {
            Choice::Instance { service, instance } => {
                if instance != name {
                    tsuru.screen.say(format!("Using your only instance of {service}, \"{instance}\"."))?;
                }
                instance::bind(tsuru, service, instance, app, self.no_restart).await
            }
            Choice::NewOf(service) => {
                create(tsuru, &api, service, app).await?;
                instance::bind(tsuru, service, app, app, self.no_restart).await
            }
            Choice::Nothing => bail!("{}", nothing_of_that_name(&services, name)),
        }
    }
}

/// Creates an instance that is named after the app and belongs to the app's team.
async fn create(tsuru: &Tsuru, api: &Api, service: &str, app: &str) -> Result<()> {
    // Asked first: for an app that is not there, nothing is made.
    let info: AppInfo = api.read(Call::get("1.0", &["apps", app])).await?;
    tsuru.screen.say(format!("You have no instance of {service} yet: creating \"{app}\" on its default plan."))?;
    let call = Call::post("1.0", &["services", service, "instances"])
        .field("name", app)
        .field("plan", "")
        .field("owner", &info.teamowner)
        .field("description", "")
        .field("pool", "")
        .field("parameters", "");
    api.tell(call).await
}

impl Unbind {
    pub(super) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let (app, name) = match self.words.meant()? {
            Meant::Long { service, instance, app } => {
                return instance::unbind(tsuru, service, instance, app, self.how).await;
            }
            Meant::Short { app, name } => (app, name),
        };
        let services = listings(&tsuru.api()?, Call::get("1.0", &["services", "instances"])).await?;
        let bound = |instance: &ListedInstance| instance.apps.iter().any(|bound| bound == app);
        match choose(&services, name, "unbind", app, bound)? {
            Choice::Instance { service, instance } => instance::unbind(tsuru, service, instance, app, self.how).await,
            Choice::NewOf(_) | Choice::Nothing => bail!("{}", not_bound(&services, name, app)),
        }
    }
}

/// What a name stands for.
#[derive(Debug, PartialEq)]
enum Choice<'a> {
    Instance { service: &'a str, instance: &'a str },
    NewOf(&'a str),
    Nothing,
}

/// Finds what `name` stands for among the instances that `counts`.
///
/// # Errors
///
/// When it could stand for several, with the commands that say which.
fn choose<'a>(
    services: &'a [ServiceListing],
    name: &str,
    verb: &str,
    app: &str,
    counts: impl Fn(&ListedInstance) -> bool,
) -> Result<Choice<'a>> {
    let all: Vec<(&str, &str)> = services
        .iter()
        .flat_map(|listing| listing.service_instances.iter().flatten().map(|found| (listing.service.as_str(), found)))
        .filter(|(_, instance)| counts(instance))
        .map(|(service, instance)| (service, instance.name.as_str()))
        .collect();
    let named: Vec<_> = all.iter().copied().filter(|(_, instance)| *instance == name).collect();
    let of_service: Vec<_> = all.iter().copied().filter(|(service, _)| *service == name).collect();
    let (found, many) = if named.is_empty() {
        (of_service, format!("there are several instances of {name:?}"))
    } else {
        (named, format!("several services have an instance named {name:?}"))
    };
    match found.as_slice() {
        [(service, instance)] => Ok(Choice::Instance { service, instance }),
        [] => Ok(services
            .iter()
            .find(|listing| listing.service == name)
            .map_or(Choice::Nothing, |listing| Choice::NewOf(&listing.service))),
        several => {
            let mut choices = format!("{many}. Type one of:\n");
            for (service, instance) in several {
                write!(choices, "\n  tsuru service-{verb} {service} {instance} -a {app}")?;
            }
            bail!(choices)
        }
    }
}

fn nothing_of_that_name(services: &[ServiceListing], name: &str) -> String {
    let names: Vec<_> = services.iter().map(|listing| listing.service.as_str()).collect();
    let offered = if names.is_empty() {
        "No services are offered to you.".to_owned()
    } else {
        format!("Services: {}. Your instances: tsuru service list", names.join(", "))
    };
    format!("there is no service instance and no service named {name:?}. {offered}")
}

fn not_bound(services: &[ServiceListing], name: &str, app: &str) -> String {
    let instances = services.iter().flat_map(|listing| listing.service_instances.iter().flatten());
    let bound: Vec<_> = instances
        .filter(|instance| instance.apps.iter().any(|bound| bound == app))
        .map(|instance| instance.name.as_str())
        .collect();
    let has = if bound.is_empty() { "none".to_owned() } else { bound.join(", ") };
    format!("{name:?} is not bound to the app {app:?}. Bound instances: {has}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(service: &str, instances: &[(&str, &str)]) -> ServiceListing {
        let instances = instances.iter().map(|(name, app)| ListedInstance {
            name: (*name).to_owned(),
            apps: vec![(*app).to_owned()],
            ..ListedInstance::default()
        });
        ServiceListing {
            service: service.to_owned(),
            service_instances: Some(instances.collect()),
            ..ServiceListing::default()
        }
    }

    fn chosen<'a>(services: &'a [ServiceListing], name: &str) -> Result<Choice<'a>> {
        choose(services, name, "bind", "blog", |_| true)
    }

    #[test]
    fn an_instance_is_found_whatever_its_service() {
        let services = [listing("mysql", &[("blogdb", "")]), listing("redis", &[("cache", "")])];

        assert_eq!(chosen(&services, "cache").unwrap(), Choice::Instance { service: "redis", instance: "cache" });
    }

    #[test]
    fn a_service_stands_for_its_only_instance_or_a_new_one() {
        let services = [listing("mysql", &[("blogdb", "")]), listing("redis", &[])];

        assert_eq!(chosen(&services, "mysql").unwrap(), Choice::Instance { service: "mysql", instance: "blogdb" });
        assert_eq!(chosen(&services, "redis").unwrap(), Choice::NewOf("redis"));
        assert_eq!(chosen(&services, "mongo").unwrap(), Choice::Nothing);
    }

    #[test]
    fn what_could_be_two_things_is_refused_with_what_to_type() {
        let services = [listing("mysql", &[("cache", "")]), listing("redis", &[("cache", ""), ("other", "")])];

        assert_eq!(
            chosen(&services, "cache").unwrap_err().to_string(),
            "several services have an instance named \"cache\". Type one of:\n\n  \
             tsuru service-bind mysql cache -a blog\n  tsuru service-bind redis cache -a blog"
        );
        assert_eq!(
            chosen(&services, "redis").unwrap_err().to_string(),
            "there are several instances of \"redis\". Type one of:\n\n  \
             tsuru service-bind redis cache -a blog\n  tsuru service-bind redis other -a blog"
        );
    }

    #[test]
    fn only_what_counts_is_chosen() {
        let services = [listing("mysql", &[("cache", "shop")]), listing("redis", &[("cache", "blog")])];

        let bound = choose(&services, "cache", "unbind", "blog", |instance| instance.apps == ["blog"]);

        assert_eq!(bound.unwrap(), Choice::Instance { service: "redis", instance: "cache" });
    }
}
