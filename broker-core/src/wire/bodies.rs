//! The body of each call: its fields in the contract's order, once for both directions.

use super::fields::{Sent, Writer};
use super::{
    Malformed,
    fields::{Field, Fields},
};
use crate::{Parameters, instance::Names};

/// How a service wants its bodies (contract 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-www-form-urlencoded`
    #[default]
    Form,
    /// `application/json`
    Json,
}

impl Encoding {
    /// The `Content-Type` of such a body.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        }
    }
}

/// Defines a body: a line for each field, in the order JSON has them.
macro_rules! body {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ident($form:literal, $json:literal, $sent:ident),)* }) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: body!(@type $kind),)*
        }

        /// Of parameters, the names only: their values may be secrets.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), body!(@show $kind self $field)))*
                    .finish()
            }
        }

        impl $name {
            pub(crate) fn read(fields: &Fields) -> Result<Self, Malformed> {
                Ok(Self { $($field: body!(@read $kind fields $form $json),)* })
            }

            /// The body's text, byte for byte as the reference platform writes it (contract 3 and 4).
            #[must_use]
            pub fn encode(&self, encoding: Encoding) -> String {
                let mut writer = match encoding {
                    Encoding::Form => Writer::Form(Vec::new()),
                    Encoding::Json => Writer::Json(Vec::new()),
                };
                $(body!(@write $kind writer self $field $form $json $sent);)*
                writer.finish()
            }
        }
    };
    (@type text) => { String };
    (@type list) => { Vec<String> };
    (@type bag) => { Option<Parameters> };
    (@show text $self:ident $field:ident) => { &$self.$field };
    (@show list $self:ident $field:ident) => { &$self.$field };
    (@show bag $self:ident $field:ident) => { &$self.$field.as_ref().map(Names) };
    (@read text $fields:ident $form:literal $json:literal) => { $fields.text(Field($form, $json))? };
    (@read list $fields:ident $form:literal $json:literal) => { $fields.list(Field($form, $json))? };
    (@read bag $fields:ident $form:literal $json:literal) => { $fields.bag()? };
    (@write text $writer:ident $self:ident $field:ident $form:literal $json:literal $sent:ident) => {
        $writer.text(Field($form, $json), &$self.$field, Sent::$sent)
    };
    (@write list $writer:ident $self:ident $field:ident $form:literal $json:literal $sent:ident) => {
        $writer.list(Field($form, $json), &$self.$field, Sent::$sent)
    };
    (@write bag $writer:ident $self:ident $field:ident $form:literal $json:literal $sent:ident) => {
        $writer.bag($self.$field.as_ref())
    };
}

body! {
    /// `POST /resources` (contract 4.3)
    CreateInstance {
        /// The instance's name.
        name: text("name", "name", ALWAYS),
        /// The team that owns it.
        team: text("team", "team", ALWAYS),
        /// Free text.
        description: text("description", "description", IF_ANY),
        /// The plan as the user typed it; empty if none was chosen.
        plan: text("plan", "plan", IF_ANY),
        /// Labels.
        tags: list("tags", "tags", IF_ANY),
        /// The platform's event.
        event: text("eventid", "eventID", ALWAYS),
        /// Who acts; may be empty.
        user: text("user", "user", ALWAYS),
        /// Parameters from the user, if any were given.
        parameters: bag("parameters", "parameters", IF_ANY),
    }
}

body! {
    /// `PUT /resources/{name}` (contract 4.5): all wishes, whole.
    ChangeInstance {
        /// Free text; empty if it is cleared.
        description: text("description", "description", ALWAYS_IN_FORM),
        /// The team that owns it.
        team: text("team", "team", ALWAYS),
        /// The plan; empty for none.
        plan: text("plan", "plan", ALWAYS_IN_FORM),
        /// Labels.
        tags: list("tags", "tags", IF_ANY),
        /// The platform's event.
        event: text("eventid", "eventID", ALWAYS),
        /// Who acts; may be empty.
        user: text("user", "user", ALWAYS),
        /// Parameters from the user, if any were given.
        parameters: bag("parameters", "parameters", IF_ANY),
    }
}

body! {
    /// `DELETE /resources/{name}` (contract 4.6)
    RemoveInstance {
        /// The platform's event.
        event: text("eventid", "eventID", ALWAYS),
        /// Who acts; may be empty.
        user: text("user", "user", ALWAYS),
    }
}

body! {
    /// `POST /resources/{name}/bind-app` (contract 4.7), and its fallback `/bind`.
    BindApp {
        /// The app.
        app: text("app-name", "appName", ALWAYS),
        /// Parameters from the user, if any were given.
        parameters: bag("parameters", "parameters", IF_ANY),
        /// Who acts; may be empty.
        user: text("user", "user", IF_ANY),
        /// The platform's event.
        event: text("eventid", "eventID", IF_ANY),
        /// The app's addresses, one for each router; one may be empty.
        hosts: list("app-hosts", "appHosts", IF_ANY),
        /// The first of `hosts`; in form encoding only.
        host: text("app-host", "", IF_ANY),
        /// Addresses inside the cluster, `proto://host:port`.
        internal_hosts: list("app-internal-hosts", "appInternalHosts", IF_ANY),
        /// The app's pool.
        pool: text("app-pool-name", "appPoolName", IF_ANY),
        /// Its provisioner.
        pool_provisioner: text("app-pool-provisioner", "appPoolProvisioner", IF_ANY),
        /// The pool's cluster.
        cluster: text("app-cluster-name", "appClusterName", IF_ANY),
        /// Its provisioner.
        cluster_provisioner: text("app-cluster-provisioner", "appClusterProvisioner", IF_ANY),
        /// Its addresses.
        cluster_addresses: list("app-cluster-addresses", "appClusterAddresses", IF_ANY),
        /// A unit's address: only platforms of the past send it (contract 4.16).
        unit_host: text("unit-host", "", IF_ANY),
    }
}

body! {
    /// `DELETE /resources/{name}/bind-app` (contract 4.9)
    UnbindApp {
        /// The app's addresses.
        hosts: list("app-hosts", "appHosts", ALWAYS_IN_JSON),
        /// The first of `hosts`; in form encoding only.
        host: text("app-host", "", IF_ANY),
        /// The app.
        app: text("app-name", "appName", ALWAYS),
        /// Who acts; may be empty.
        user: text("user", "user", ALWAYS),
        /// The platform's event.
        event: text("eventid", "eventID", ALWAYS),
        /// A unit's address: only platforms of the past send it (contract 4.16).
        unit_host: text("unit-host", "", IF_ANY),
    }
}

body! {
    /// `PUT /resources/{name}/binds/jobs/{job}` (contract 4.10)
    BindJob {
        /// The job.
        job: text("job-name", "jobName", ALWAYS),
        /// Who acts; may be empty.
        user: text("user", "user", IF_ANY),
        /// The platform's event.
        event: text("eventid", "eventID", IF_ANY),
        /// The job's pool.
        pool: text("job-pool-name", "jobPoolName", IF_ANY),
        /// The pool's cluster.
        cluster: text("job-cluster-name", "jobClusterName", IF_ANY),
    }
}

body! {
    /// `DELETE /resources/{name}/binds/jobs/{job}` (contract 4.11)
    UnbindJob {
        /// Who acts; may be empty.
        user: text("user", "user", ALWAYS),
        /// The platform's event.
        event: text("eventid", "eventID", ALWAYS),
    }
}

body! {
    /// `POST /resources/{name}/rotate`: whose credentials, an app's or a job's.
    Rotate {
        /// The app.
        app: text("app-name", "appName", IF_ANY),
        /// The job.
        job: text("job-name", "jobName", IF_ANY),
        /// Who acts; may be empty.
        user: text("user", "user", IF_ANY),
        /// The platform's event.
        event: text("eventid", "eventID", IF_ANY),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EVENT: &str = "5f0c7c1e8a1b2c3d4e5f6a7b";
    const USER: &str = "alice@example.com";

    fn create() -> CreateInstance {
        let parameters = json!({"region":"br","nodes":3,"opts":{"aof":true},"acl":["10.0.0.0/8"]});
        CreateInstance {
            name: "my-redis".into(),
            team: "data".into(),
            description: "cache & queue".into(),
            plan: "small".into(),
            tags: vec!["a".into(), "b".into()],
            event: EVENT.into(),
            user: USER.into(),
            parameters: parameters.as_object().cloned(),
        }
    }

    #[test] // B3, B5: contract 4.3
    fn a_create_has_the_contracts_bytes() {
        assert_eq!(
            create().encode(Encoding::Form),
            "description=cache+%26+queue&eventid=5f0c7c1e8a1b2c3d4e5f6a7b&name=my-redis&parameters.acl.0=10.0.0.0%2F8&parameters.nodes=3&parameters.opts.aof=true&parameters.region=br&plan=small&tags=a&tags=b&team=data&user=alice%40example.com"
        );
        assert_eq!(
            create().encode(Encoding::Json),
            "{\"name\":\"my-redis\",\"team\":\"data\",\"description\":\"cache \\u0026 queue\",\"plan\":\"small\",\"tags\":[\"a\",\"b\"],\"eventID\":\"5f0c7c1e8a1b2c3d4e5f6a7b\",\"user\":\"alice@example.com\",\"parameters\":{\"acl\":[\"10.0.0.0/8\"],\"nodes\":3,\"opts\":{\"aof\":true},\"region\":\"br\"}}\n"
        );
    }

    #[test] // SPEC S-5
    fn a_bodys_debug_output_has_names_of_parameters_and_no_values() {
        let parameters = json!({ "password": "s3cret" }).as_object().cloned();
        let shown = format!("{:?}", CreateInstance { parameters, ..create() });
        assert!(shown.contains("password") && shown.contains("my-redis") && !shown.contains("s3cret"), "{shown}");
    }

    #[test] // B4
    fn a_create_without_plan_and_description_names_neither() {
        let create = CreateInstance { plan: String::new(), description: String::new(), ..create() };
        assert!(
            !create.encode(Encoding::Form).contains("plan") && !create.encode(Encoding::Json).contains("description")
        );
    }

    #[test] // B6, B7: contract 4.5
    fn an_update_that_clears_everything_has_the_contracts_bytes() {
        let cleared = ChangeInstance {
            team: "data".into(),
            event: EVENT.into(),
            user: USER.into(),
            parameters: Some(Parameters::new()),
            ..ChangeInstance::default()
        };
        assert_eq!(
            cleared.encode(Encoding::Form),
            "description=&eventid=5f0c7c1e8a1b2c3d4e5f6a7b&parameters.=&plan=&team=data&user=alice%40example.com"
        );
        assert_eq!(
            cleared.encode(Encoding::Json),
            "{\"team\":\"data\",\"eventID\":\"5f0c7c1e8a1b2c3d4e5f6a7b\",\"user\":\"alice@example.com\"}\n"
        );
    }

    fn bind() -> BindApp {
        BindApp {
            app: "blog".into(),
            parameters: json!({"mode":"ro"}).as_object().cloned(),
            user: USER.into(),
            event: EVENT.into(),
            hosts: vec!["blog.example.com".into(), "blog.internal".into()],
            host: "blog.example.com".into(),
            internal_hosts: vec!["tcp://blog-web.tsuru.svc.cluster.local:8888".into()],
            pool: "pool1".into(),
            pool_provisioner: "kubernetes".into(),
            cluster: "c1".into(),
            cluster_provisioner: "kubernetes".into(),
            cluster_addresses: vec!["https://k1".into(), "https://k2".into()],
            unit_host: String::new(),
        }
    }

    #[test] // B57: contract 4.7
    fn a_bind_has_the_contracts_bytes() {
        assert_eq!(
            bind().encode(Encoding::Form),
            "app-cluster-addresses=https%3A%2F%2Fk1&app-cluster-addresses=https%3A%2F%2Fk2&app-cluster-name=c1&app-cluster-provisioner=kubernetes&app-host=blog.example.com&app-hosts=blog.example.com&app-hosts=blog.internal&app-internal-hosts=tcp%3A%2F%2Fblog-web.tsuru.svc.cluster.local%3A8888&app-name=blog&app-pool-name=pool1&app-pool-provisioner=kubernetes&eventid=5f0c7c1e8a1b2c3d4e5f6a7b&parameters.mode=ro&user=alice%40example.com"
        );
        assert_eq!(
            bind().encode(Encoding::Json),
            "{\"appName\":\"blog\",\"parameters\":{\"mode\":\"ro\"},\"user\":\"alice@example.com\",\"eventID\":\"5f0c7c1e8a1b2c3d4e5f6a7b\",\"appHosts\":[\"blog.example.com\",\"blog.internal\"],\"appInternalHosts\":[\"tcp://blog-web.tsuru.svc.cluster.local:8888\"],\"appPoolName\":\"pool1\",\"appPoolProvisioner\":\"kubernetes\",\"appClusterName\":\"c1\",\"appClusterProvisioner\":\"kubernetes\",\"appClusterAddresses\":[\"https://k1\",\"https://k2\"]}\n"
        );
    }

    #[test] // contract 4.9, 4.10
    fn an_unbind_and_a_job_bind_have_the_contracts_bytes() {
        let unbind = UnbindApp { app: "blog".into(), user: USER.into(), event: EVENT.into(), ..UnbindApp::default() };
        assert_eq!(
            unbind.encode(Encoding::Json),
            "{\"appHosts\":[],\"appName\":\"blog\",\"user\":\"alice@example.com\",\"eventID\":\"5f0c7c1e8a1b2c3d4e5f6a7b\"}\n"
        );
        let job = BindJob {
            job: "nightly".into(),
            user: USER.into(),
            event: EVENT.into(),
            pool: "pool1".into(),
            cluster: "c1".into(),
        };
        assert_eq!(
            job.encode(Encoding::Form),
            "eventid=5f0c7c1e8a1b2c3d4e5f6a7b&job-cluster-name=c1&job-name=nightly&job-pool-name=pool1&user=alice%40example.com"
        );
    }

    #[test]
    fn the_other_end_reads_what_was_written() {
        let form = Fields::from_form(bind().encode(Encoding::Form).as_bytes()).unwrap();
        let json = Fields::from_json(bind().encode(Encoding::Json).as_bytes()).unwrap();
        assert_eq!(BindApp::read(&form).unwrap(), bind());
        assert_eq!(BindApp::read(&json).unwrap(), BindApp { host: String::new(), ..bind() });
        let json = Fields::from_json(create().encode(Encoding::Json).as_bytes()).unwrap();
        assert_eq!(CreateInstance::read(&json).unwrap(), create());
    }

    #[test] // A92, A112
    fn null_is_absent_and_rubbish_is_refused() {
        let fields = Fields::from_json(br#"{"appHosts":null,"appName":"blog","unknown":[{}]}"#).unwrap();
        assert_eq!(UnbindApp::read(&fields).unwrap().app, "blog");
        for rubbish in ["{", "[]", "1", ""] {
            assert!(Fields::from_json(rubbish.as_bytes()).is_err(), "{rubbish}");
        }
        let number = Fields::from_json(br#"{"name":5}"#).unwrap();
        assert_eq!(CreateInstance::read(&number).unwrap_err().to_string(), "\"name\" is not a text");
    }
}
