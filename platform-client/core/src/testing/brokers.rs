//! The `brokers` port in memory, and its contract.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use broker_core::{AppName, Consumer, InstanceName, Parameters, Secret, ServiceName};

use crate::{
    Error, EventId, Result, Service, ServiceInstance, TeamName,
    ports::{Acting, BindRequest, Brokers},
};

/// Which of the port's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BrokerCall {
    /// [`Brokers::plans`]
    Plans,
    /// [`Brokers::create`]
    Create,
    /// [`Brokers::update`]
    Update,
    /// [`Brokers::delete`]
    Delete,
    /// [`Brokers::bind`]
    Bind,
    /// [`Brokers::unbind`]
    Unbind,
    /// [`Brokers::status`]
    Status,
    /// [`Brokers::info`]
    Info,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    /// Which one.
    pub call: BrokerCall,
    /// The service asked.
    pub service: ServiceName,
    /// The instance, where the call is about one.
    pub instance: Option<InstanceName>,
    /// Who was bound or unbound.
    pub consumer: Option<Consumer>,
    /// Parameters of a create, an update or a bind.
    pub parameters: Parameters,
    /// The acting user, where the call carries one.
    pub user: Option<String>,
}

/// Brokers of any service, in memory: they accept what a careful broker accepts, do what they are
/// told to do wrong, and remember who called.
///
/// A bind to instance `cache` of service `redis` yields `REDIS_HOST` and `REDIS_PASSWORD`, unless
/// [`answer_binds_with`](Self::answer_binds_with) says otherwise.
#[derive(Debug, Default)]
pub struct FakeBrokers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    instances: BTreeMap<(ServiceName, InstanceName), Known>,
    plans: BTreeMap<ServiceName, Vec<(String, String)>>,
    env: Option<Vec<(String, String)>>,
    misdeeds: BTreeMap<BrokerCall, VecDeque<Misdeed>>,
    calls: Vec<Called>,
}

#[derive(Debug, Default)]
struct Known {
    bound: BTreeSet<Consumer>,
    status: Option<String>,
    info: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Misdeed {
    Refuse(String),
    LoseAnswer(String),
}

impl FakeBrokers {
    /// Brokers that know no instance.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next such call changes nothing and fails with [`Error::Broker`] of this text. Several are
    /// used up one by one.
    pub fn refuse(&self, call: BrokerCall, text: &str) {
        self.state().misdeeds.entry(call).or_default().push_back(Misdeed::Refuse(text.to_owned()));
    }

    /// The next such call takes effect, but fails with [`Error::Broker`] of this text all the same.
    pub fn lose_answer(&self, call: BrokerCall, text: &str) {
        self.state().misdeeds.entry(call).or_default().push_back(Misdeed::LoseAnswer(text.to_owned()));
    }

    /// What a service's plans are: names and descriptions.
    pub fn offer(&self, service: &ServiceName, plans: &[(&str, &str)]) {
        let plans = plans.iter().map(|(name, description)| ((*name).to_owned(), (*description).to_owned())).collect();
        self.state().plans.insert(service.clone(), plans);
    }

    /// The variables of every bind from now on.
    pub fn answer_binds_with(&self, env: &[(&str, &str)]) {
        self.state().env = Some(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    }

    /// What an instance's status is from now on; binds to one that is `pending` are refused.
    pub fn set_status(&self, service: &ServiceName, instance: &InstanceName, status: &str) {
        if let Some(known) = self.state().instances.get_mut(&(service.clone(), instance.clone())) {
            known.status = Some(status.to_owned());
        }
    }

    /// Adds a line to what an instance says about itself.
    pub fn set_info(&self, service: &ServiceName, instance: &InstanceName, label: &str, value: &str) {
        if let Some(known) = self.state().instances.get_mut(&(service.clone(), instance.clone())) {
            known.info.insert(label.to_owned(), value.to_owned());
        }
    }

    /// Whether the broker has such an instance.
    #[must_use]
    pub fn has(&self, service: &ServiceName, instance: &InstanceName) -> bool {
        self.state().instances.contains_key(&(service.clone(), instance.clone()))
    }

    /// Who is bound to an instance, as the broker sees it.
    #[must_use]
    pub fn bound(&self, service: &ServiceName, instance: &InstanceName) -> Vec<Consumer> {
        let state = self.state();
        let known = state.instances.get(&(service.clone(), instance.clone()));
        known.map(|known| known.bound.iter().cloned().collect()).unwrap_or_default()
    }

    /// All calls so far, refused ones too, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Called> {
        self.state().calls.clone()
    }

    /// How often that call was made.
    #[must_use]
    pub fn count(&self, call: BrokerCall) -> usize {
        self.state().calls.iter().filter(|called| called.call == call).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no thread panics while it holds the fake's state")
    }

    /// Writes the call down, then acts as told: refuses, acts and fails, or acts.
    fn answer<T>(&self, called: Called, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        let misdeed = state.misdeeds.get_mut(&called.call).and_then(VecDeque::pop_front);
        state.calls.push(called);
        match misdeed {
            Some(Misdeed::Refuse(text)) => Err(Error::Broker(text)),
            Some(Misdeed::LoseAnswer(text)) => act(&mut state).and(Err(Error::Broker(text))),
            None => act(&mut state),
        }
    }
}

impl State {
    fn known(&mut self, service: &Service, instance: &InstanceName) -> Result<&mut Known> {
        self.instances
            .get_mut(&(service.name.clone(), instance.clone()))
            .ok_or_else(|| Error::Broker("instance does not exist in the service API".to_owned()))
    }

    fn env(&self, service: &Service, instance: &InstanceName) -> BTreeMap<String, Secret> {
        let prefix = service.name.as_str().to_uppercase().replace('-', "_");
        let usual = || {
            vec![
                (format!("{prefix}_HOST"), format!("{instance}.test")),
                (format!("{prefix}_PASSWORD"), format!("password of {instance}")),
            ]
        };
        let env = self.env.clone().unwrap_or_else(usual);
        env.into_iter().map(|(name, value)| (name, Secret::from(value))).collect()
    }
}

fn called(call: BrokerCall, service: &Service, instance: Option<&InstanceName>, acting: Option<&Acting>) -> Called {
    Called {
        call,
        service: service.name.clone(),
        instance: instance.cloned(),
        consumer: None,
        parameters: Parameters::new(),
        user: acting.map(|acting| acting.user.clone()),
    }
}

#[async_trait]
impl Brokers for FakeBrokers {
    async fn plans(&self, service: &Service) -> Result<Vec<(String, String)>> {
        self.answer(called(BrokerCall::Plans, service, None, None), |state| {
            Ok(state.plans.get(&service.name).cloned().unwrap_or_default())
        })
    }

    async fn create(&self, service: &Service, instance: &ServiceInstance, acting: &Acting) -> Result<()> {
        let called = called(BrokerCall::Create, service, Some(&instance.name), Some(acting));
        self.answer(Called { parameters: instance.parameters.clone(), ..called }, |state| {
            let key = (service.name.clone(), instance.name.clone());
            if state.instances.contains_key(&key) {
                return Err(Error::Broker("instance already exists in the service API".to_owned()));
            }
            state.instances.insert(key, Known::default());
            Ok(())
        })
    }

    async fn update(&self, service: &Service, instance: &ServiceInstance, acting: &Acting) -> Result<()> {
        let called = called(BrokerCall::Update, service, Some(&instance.name), Some(acting));
        self.answer(Called { parameters: instance.parameters.clone(), ..called }, |_| Ok(()))
    }

    async fn delete(&self, service: &Service, instance: &InstanceName, acting: &Acting) -> Result<()> {
        self.answer(called(BrokerCall::Delete, service, Some(instance), Some(acting)), |state| {
            state.known(service, instance)?;
            state.instances.remove(&(service.name.clone(), instance.clone()));
            Ok(())
        })
    }

    async fn bind(
        &self,
        service: &Service,
        instance: &InstanceName,
        bind: &BindRequest,
        acting: &Acting,
    ) -> Result<BTreeMap<String, Secret>> {
        let called = called(BrokerCall::Bind, service, Some(instance), Some(acting));
        let called = Called { consumer: Some(bind.consumer.clone()), parameters: bind.parameters.clone(), ..called };
        self.answer(called, |state| {
            let env = state.env(service, instance);
            let known = state.known(service, instance)?;
            if known.status.as_deref() == Some("pending") {
                return Err(Error::Broker("instance is not ready yet".to_owned()));
            }
            known.bound.insert(bind.consumer.clone());
            Ok(env)
        })
    }

    async fn unbind(
        &self,
        service: &Service,
        instance: &InstanceName,
        consumer: &Consumer,
        _hosts: &[String],
        acting: &Acting,
    ) -> Result<()> {
        let called = called(BrokerCall::Unbind, service, Some(instance), Some(acting));
        self.answer(Called { consumer: Some(consumer.clone()), ..called }, |state| {
            if let Ok(known) = state.known(service, instance) {
                known.bound.remove(consumer);
            }
            Ok(())
        })
    }

    async fn status(&self, service: &Service, instance: &InstanceName) -> Result<String> {
        self.answer(called(BrokerCall::Status, service, Some(instance), None), |state| {
            Ok(match state.known(service, instance) {
                Ok(known) => known.status.clone().unwrap_or_else(|| "up".to_owned()),
                Err(_) => "not implemented for this service".to_owned(),
            })
        })
    }

    async fn info(&self, service: &Service, instance: &InstanceName) -> Result<BTreeMap<String, String>> {
        self.answer(called(BrokerCall::Info, service, Some(instance), None), |state| {
            Ok(state.known(service, instance).map(|known| known.info.clone()).unwrap_or_default())
        })
    }
}

/// What every adapter of the port keeps, told with one instance's life. `service` has a broker that
/// knows no instance `contract`, and gives variables on a bind.
///
/// # Panics
/// When the contract is broken.
pub async fn contract(brokers: &dyn Brokers, service: &Service) {
    let instance = an_instance(service, "contract");
    let (name, acting, bind) = (&instance.name, acting(), bind_of("web"));

    assert_eq!(text(brokers.bind(service, name, &bind, &acting).await), "instance does not exist in the service API");
    assert_eq!(text(brokers.delete(service, name, &acting).await), "instance does not exist in the service API");
    assert_eq!(brokers.status(service, name).await.expect("status"), "not implemented for this service");
    assert!(brokers.info(service, name).await.expect("info").is_empty());
    brokers.update(service, &instance, &acting).await.expect("an update that the broker does not know succeeds");
    brokers.unbind(service, name, &bind.consumer, &[], &acting).await.expect("an unbind of nothing succeeds");

    brokers.create(service, &instance, &acting).await.expect("create");
    assert_eq!(text(brokers.create(service, &instance, &acting).await), "instance already exists in the service API");
    assert_eq!(brokers.status(service, name).await.expect("status"), "up");

    let first = brokers.bind(service, name, &bind, &acting).await.expect("bind");
    assert!(!first.is_empty());
    assert_eq!(brokers.bind(service, name, &bind, &acting).await.expect("bind again"), first);
    brokers.unbind(service, name, &bind.consumer, &["web.test".to_owned()], &acting).await.expect("unbind");
    brokers.unbind(service, name, &bind.consumer, &[], &acting).await.expect("unbind again");

    brokers.delete(service, name, &acting).await.expect("delete");
    brokers.create(service, &instance, &acting).await.expect("create anew");
    brokers.delete(service, name, &acting).await.expect("delete anew");
}

fn text<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("the call succeeded, but it should have been refused"),
        Err(refusal) => refusal.to_string(),
    }
}

fn an_instance(service: &Service, name: &str) -> ServiceInstance {
    let team: TeamName = "admin".parse().expect("a valid team name");
    ServiceInstance {
        service: service.name.clone(),
        name: name.parse().expect("a valid instance name"),
        plan: String::new(),
        team: team.clone(),
        teams: vec![team],
        description: "cache & queue".to_owned(),
        tags: vec!["a".to_owned(), "b".to_owned()],
        parameters: Parameters::new(),
        apps: Vec::new(),
        jobs: Vec::new(),
    }
}

fn acting() -> Acting {
    Acting { user: "alice@example.com".to_owned(), event: EventId::generate() }
}

fn bind_of(app: &str) -> BindRequest {
    let app: AppName = app.parse().expect("a valid app name");
    BindRequest {
        consumer: Consumer::App(app),
        hosts: vec!["web.example.com".to_owned()],
        pool: "theonepool".to_owned(),
        parameters: Parameters::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis() -> Service {
        Service {
            name: "redis".parse().unwrap(),
            username: String::new(),
            password: Secret::from("s3cret"),
            endpoints: BTreeMap::new(),
            json: false,
            team: "admin".parse().unwrap(),
            doc: String::new(),
        }
    }

    #[tokio::test]
    async fn the_fake_keeps_the_contract() {
        contract(&FakeBrokers::new(), &redis()).await;
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_the_instance_there() {
        let brokers = FakeBrokers::new();
        let service = redis();
        let instance = an_instance(&service, "cache");
        brokers.lose_answer(BrokerCall::Create, "timed out");

        let answer = brokers.create(&service, &instance, &acting()).await;

        assert_eq!(text(answer), "timed out");
        assert!(brokers.has(&service.name, &instance.name));
        assert_eq!(brokers.count(BrokerCall::Create), 1);
    }

    #[tokio::test]
    async fn a_refused_call_changes_nothing() {
        let brokers = FakeBrokers::new();
        let service = redis();
        let instance = an_instance(&service, "cache");
        brokers.refuse(BrokerCall::Create, "no quota");

        assert_eq!(text(brokers.create(&service, &instance, &acting()).await), "no quota");
        assert!(!brokers.has(&service.name, &instance.name));
    }
}
