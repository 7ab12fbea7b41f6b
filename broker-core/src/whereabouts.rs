//! Where a consumer is, as its platform says with a bind (contract 4.7, 4.10).

use serde::{Deserialize, Serialize};

use crate::{Parameters, Pool};

/// Where a consumer runs and is reached, as far as its platform says: what a service needs that opens firewalls, or
/// stands in front of apps (SPEC B-22). As of the last bind; hosts come and go later without one.
///
/// Of a job this is what its bind's body says, which a user can send as well, through the platform's proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Whereabouts {
    /// The addresses of an app, one for each of its routers, in their order; one may be empty. For tsuru.
    pub hosts: Vec<String>,
    /// Its addresses inside the cluster, `proto://host:port`. For tsuru.
    pub internal_hosts: Vec<String>,
    /// Where it runs; never with a kube config. For tsuru.
    pub pool: Option<Pool>,
    /// The platform's identifier of the app, or of what else is bound. For Open Service Broker.
    pub app_guid: Option<String>,
    /// The address whose requests are to go through the service. For Open Service Broker.
    pub route: Option<String>,
    /// What else its platform says of where it is, as [`Instance::context`](crate::Instance::context) has it of the
    /// instance. For Open Service Broker.
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    pub context: Parameters,
}
