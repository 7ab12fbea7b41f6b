//! The bodies that the contract shows, read and written again.

use platform_wire::{
    AppInfo, AppResume, AppUpdate, AuthScheme, Deploy, EnvVar, Event, InstanceInfo, LogEntry, Plan, Platform,
    PlatformInfo, Pool, Router, ServiceInstance, ServiceListing, ServicePlan, StreamMessage, Team, Time, Token, Unit,
    User,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Reads a body and writes it again: the same must come out.
#[track_caller]
fn survives<T: Serialize + DeserializeOwned>(body: &str) -> T {
    let shown: Value = serde_json::from_str(body).unwrap();
    let read: T = serde_json::from_str(body).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), shown);
    read
}

#[test]
fn an_app_survives_with_its_units() {
    let app: AppInfo = survives(
        r#"{"name":"blog","platform":"python","teams":["core"],"plan":{"name":"c0.1m0.2","memory":268435456,"cpumilli":100,"default":true,"override":{"memory":null,"cpumilli":null,"cpuBurst":null}},
 "cname":["blog.example.com"],"owner":"alice@example.com","pool":"main","description":"","deploys":1,"teamowner":"core","tags":[],"metadata":{},
 "units":[{"ID":"blog-web-1","Name":"blog-web-1","AppName":"blog","ProcessName":"web","Type":"python","IP":"10.0.0.7","InternalIP":"","Status":"started","StatusReason":"",
   "Address":{"Scheme":"http","Host":"10.0.0.7:8888"},"Addresses":[{"Scheme":"http","Host":"10.0.0.7:8888"}],"Version":1,"Routable":true,"Restarts":0,"CreatedAt":"2026-01-02T03:04:05Z","Ready":true}],
 "routers":[{"name":"main","type":"api","opts":{},"address":"blog.apps.example.com","addresses":["blog.apps.example.com"],"status":"ready"}],
 "serviceInstanceBinds":[{"service":"mysql","instance":"blogdb","plan":"small"}],
 "routeropts":{},"quota":{"limit":-1,"inuse":1},"processes":[{"name":"web"}]}"#,
    );

    assert_eq!(app.units[0].address.as_ref().unwrap().host, "10.0.0.7:8888");
}

#[test]
fn an_app_update_says_only_what_changes() {
    survives::<AppUpdate>(
        r#"{"description":"text","plan":"small","pool":"main","teamOwner":"core","platform":"python:v3","tags":["a"],
 "noRestart":true,"imageReset":true,"planoverride":{"memory":536870912,"cpumilli":100,"cpuBurst":1.2},"metadata":{}}"#,
    );
    assert_eq!(serde_json::to_value(AppUpdate::default()).unwrap(), json!({"planoverride": {}, "metadata": {}}));
}

#[test]
fn what_the_platform_offers_survives() {
    survives::<Plan>(
        r#"{"name":"small","memory":268435456,"cpumilli":100,"default":true,"cpuBurst":{"default":1.1,"maxAllowed":2.0},"override":{"memory":null,"cpumilli":null,"cpuBurst":null}}"#,
    );
    survives::<Vec<Platform>>(r#"[{"Name":"python","Disabled":false}]"#);
    survives::<PlatformInfo>(r#"{"platform":{"Name":"python","Disabled":false},"images":["python:v1"]}"#);
    survives::<Pool>(
        r#"{"name":"main","default":true,"provisioner":"","labels":{},"public":false,"teams":[],"allowed":{"team":["core"],"router":["main"]}}"#,
    );
    survives::<Vec<Router>>(
        r#"[{"name":"main","type":"embedded","info":{},"config":{},"dynamic":false,"default":true,"readinessGates":[]}]"#,
    );
}

#[test]
fn services_survive() {
    survives::<Vec<ServiceListing>>(
        r#"[{"service":"mysql","instances":["blogdb"],"plans":["small"],
  "service_instances":[{"name":"blogdb","service_name":"mysql","plan_name":"small","apps":["blog"],"jobs":[],
    "teams":["core"],"team_owner":"core","description":"","tags":[],"parameters":{},"pool":""}]},
 {"service":"redis","instances":[],"plans":null,"service_instances":null}]"#,
    );
    survives::<InstanceInfo>(
        r#"{"Apps":["blog"],"Jobs":[],"Teams":["core"],"TeamOwner":"core","Description":"","PlanName":"small",
 "PlanDescription":"up to 1 GB","Pool":"","Cluster":"","CustomInfo":{"Address":"10.0.0.9:3306"},"Tags":[],"Parameters":{}}"#,
    );
    survives::<Vec<ServiceInstance>>(
        r#"[{"Name":"blogdb","Pool":"","PlanName":"small","Apps":["blog"],"Jobs":[],"ServiceName":"mysql","Teams":["core"],"TeamOwner":"core","Info":{"Address":"10.0.0.9:3306"}}]"#,
    );
    survives::<Vec<ServicePlan>>(r#"[{"Name":"small","Description":"up to 1 GB","Schemas":null}]"#);
}

#[test]
fn deploys_events_and_logs_survive() {
    survives::<Vec<Deploy>>(
        r#"[{"ID":"6650f1a2b3c4d5e6f7a8b9c0","App":"blog","Timestamp":"2026-01-02T03:04:05Z","Duration":18000000000,
  "Commit":"","Error":"","Image":"v3","Version":3,"Log":"","User":"alice@example.com","Origin":"app-deploy",
  "CanRollback":true,"Diff":"","Message":""}]"#,
    );
    let events = survives::<Vec<Event>>(
        r#"[{"UniqueID":"6650f1a2b3c4d5e6f7a8b9c0",
  "StartTime":"2026-01-02T03:04:05Z","EndTime":"2026-01-02T03:04:25Z","ExpireAt":"0001-01-01T00:00:00Z",
  "Target":{"Type":"app","Value":"blog"},
  "ExtraTargets":[{"Target":{"Type":"service-instance","Value":"mysql/blogdb"},"Lock":true}],
  "Kind":{"Type":"permission","Name":"app.deploy"},
  "Owner":{"Type":"user","Name":"alice@example.com"},"SourceIP":"10.1.2.3",
  "Error":"","Log":"","StructuredLog":null,"LockUpdateTime":"0001-01-01T00:00:00Z",
  "CancelInfo":{"Owner":"","StartTime":"0001-01-01T00:00:00Z","AckTime":"0001-01-01T00:00:00Z","Reason":"","Asked":false,"Canceled":false},
  "Cancelable":true,"Running":false}]"#,
    );
    assert_eq!(events[0].expire_at, Time::NEVER);
    survives::<Vec<LogEntry>>(
        r#"[{"Date":"2026-01-02T03:04:05.600Z","Message":"listening on 8888","Source":"web","Name":"blog","Type":"app","Unit":"blog-web-1"}]"#,
    );
    survives::<StreamMessage>(r#"{"Message":" ---> 1 of 1 new units ready\n","Timestamp":"2026-01-02T03:04:06Z"}"#);
    survives::<StreamMessage>(r#"{"Message":"","Timestamp":"2026-01-02T03:04:09Z","Error":"unable to start units"}"#);
}

#[test]
fn people_and_sessions_survive() {
    survives::<User>(
        r#"{"Email":"alice@example.com",
 "Roles":[{"Name":"admin","ContextType":"global","ContextValue":"","Group":""}],
 "Permissions":[{"Name":"","ContextType":"global","ContextValue":"","Group":""}],
 "Groups":[]}"#,
    );
    survives::<Vec<AuthScheme>>(r#"[{"name":"native","default":true,"data":{}}]"#);
    survives::<Vec<Team>>(r#"[{"name":"core","tags":[],"permissions":["app.deploy"]}]"#);
    let token = survives::<Token>(r#"{"token":"0f3c"}"#);
    assert!(!format!("{token:?}").contains("0f3c"));
    survives::<EnvVar>(r#"{"name":"DB_HOST","value":"10.0.0.9","alias":"","public":true,"managedBy":""}"#);
}

#[test]
fn null_absent_and_unknown_fields_are_read() {
    let app: AppInfo =
        serde_json::from_str(r#"{"name":"blog","teams":null,"units":null,"plan":null,"quota":null,"news":[1]}"#)
            .unwrap();
    assert_eq!(app, AppInfo { name: "blog".to_owned(), ..AppInfo::default() });

    let resume: AppResume = serde_json::from_str(r#"{"name":"blog","units":[{"ID":"a","Address":null}]}"#).unwrap();
    assert_eq!(resume.units, [Unit { id: "a".to_owned(), ..Unit::default() }]);
}
