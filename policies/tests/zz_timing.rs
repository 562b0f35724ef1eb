use policies::*;
use gateway_core::{caller::*,decision::*,ids::*,server::*};
use std::{sync::Arc,time::Instant};
use uuid::Uuid;
#[test]
fn timing() {
    for n in [10usize, 100, 1000] {
        let sources: Vec<Source> = (0..n).map(|i| Source { id: PolicyId(Uuid::from_u128(i as u128+1)), spec: PolicySpec {
            name: format!("p{i}"), effect: Some(if i%5==4 {"deny"} else {"allow"}.into()),
            principals: Some(vec![format!("group:g{}", i % 10)]), server: Some(format!("s{}", i % 7)),
            tools: Some(vec!["get_*".into(), format!("t{i}")]),
            when: if i%3==0 { vec![ConditionSpec{arg:Some("limit".into()),op:Some("gt".into()),value:Some(serde_json::json!(i)),..Default::default()}] } else {vec![]},
            ..Default::default() } }).collect();
        let t = Instant::now();
        let set = PolicySet::compile(&sources).unwrap();
        let tc = t.elapsed();
        let user = User{id:UserId(Uuid::nil()),email:"bob@example.com".into(),name:"b".into(),roles:vec![Role::Developer],groups:vec!["g1".into(),"g2".into(),"x".into()],active:true};
        let tools = (0..200).map(|i| Tool{name:format!("get_{i}"),definition:"{}".into(),hash:[0;32],annotations:vec![]}).collect();
        let server = Server{id:ServerId(Uuid::nil()),slug:"s1".parse().unwrap(),title:String::new(),description:String::new(),endpoint:Endpoint::InProcess,auth:UpstreamAuth::None,status:ServerStatus::Active,eras:None,tools:Arc::new(tools)};
        let c = Circumstances{client:"Cursor".into(),ip:"10.0.0.1".parse().unwrap(),now:gateway_core::Timestamp::UNIX_EPOCH};
        let text = br#"{"limit": 5, "query":"abc def"}"#;
        let q = Question{user:&user,server:&server,target:Target::Tool("get_1"),arguments:Some(gateway_core::json::Json::parse(text).unwrap()),circumstances:&c,confirmed:false};
        set.decide(&q);
        let t = Instant::now(); let k=2000;
        for _ in 0..k { std::hint::black_box(set.decide(&q)); }
        let td = t.elapsed()/k;
        let t = Instant::now();
        for tool in server.tools.iter() { std::hint::black_box(set.listed(&user,&server,Target::Tool(&tool.name),&c)); }
        let tl = t.elapsed();
        let t = Instant::now();
        for _ in 0..1000 { std::hint::black_box(set.may_enter(&user,&server)); }
        eprintln!("{n}: compile {tc:?} decide {td:?} list200 {tl:?} enter {:?}", t.elapsed()/1000);
    }
}
