"""In Chinese, what comes from deeper down, where nobody knows a browser: reasons, errors, reports.

`said` finds the template that an English line was made from and says it anew. The English is the source of truth: a
line that no template knows stays as it is, and tests hold the templates against the code that makes the lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from assistant.texts import Language

LONGEST = 8_000
"""Characters of a line of ours, and more than any has: what is longer somebody else wrote."""
MARKS = 8
"""Pieces that one of several reasons on a line may be in, where it has the mark in it that stands between them."""

NESTED = frozenset({"why", "what", "chance", "state", "role", "tries"})
"""Names under which a template holds what is itself to be said in Chinese."""

NUMBERS = frozenset(
    (
        *("n", "m", "s", "a", "b", "q", "p", "least", "most", "votes", "gained", "lost", "before", "after", "kept"),
        *("ratio", "gain", "sure", "down", "rated", "usual", "all", "right", "asked", "seed", "other_seed", "wanted"),
        *("unwanted", "replayed", "epochs", "steps", "first", "last", "kl", "tokens", "mb", "strength", "own"),
    )
)
"""Names under which a template holds a figure, and nothing else."""
FIGURE = r"(?:p [=<] )?[-\d.,%]+"
CHANCE = rf"(?:[a-z ]+: )?{FIGURE}"
"""How likely it is that chance did it, and what that means."""

LESSONS = (
    ("waits for the next night", "等待下一个夜晚"),
    ("waits until a teacher approves it", "等待教师批准"),
    ("held back by {name}", "被 {name} 暂缓"),
    ("approved by {name}", "由 {name} 批准"),
    ("a better answer by {name}", "{name} 写了更好的回答"),
    ("trained in {version}", "在 {version} 中训练"),
    ("{version} answers it right", "{version} 答对了"),
    ("asked in the exam, {version} said: {answer}", "考试中 {version} 回答：{answer}"),
    ("asked again, {version} answers it right", "再次提问，{version} 答对了"),
    ("asked again, {version} said: {answer}", "再次提问，{version} 回答：{answer}"),
    ("night {night} was rejected ({why}): back in the queue", "夜晚 {night} 未被采用（{why}）：重新排队"),
    ("the rating was taken back", "评分已撤回"),
    ("the exchange was rated again", "这个回答被重新评分"),
    ("the exchange does not bear this assistant's signature", "这条对话没有本助手的签名"),
    ("is {n} tokens long, the most is {most}", "长度为 {n} 个词元，上限为 {most}"),
    ("there is nothing to see in it", "里面没有可见的内容"),
    (
        "the liked answer was not whole: add the whole one, or like another",
        "被点赞的回答不完整：请补上完整的回答，或给别的回答点赞",
    ),
    (
        "a thumb down alone says what is wrong, not what is right: add a better answer",
        "只点踩说明了什么是错的，没有说明什么是对的：请写上更好的回答",
    ),
    (
        "the better answer is the answer that was given: write what it should have been",
        "更好的回答与原回答相同：请写出应有的回答",
    ),
    ("holds what looks like {what}", "含有疑似{what}的内容"),
    ("a private key", "私钥"),
    ("an access key", "访问密钥"),
    ("an API key", "API 密钥"),
    ("a token", "令牌"),
    ("a password", "密码"),
    ("a card number", "卡号"),
    ("a long random string", "长随机字符串"),
    ("confirms lesson {id}, which stays", "与课程 {id} 一致，保留那一课"),
    ("says the same as lesson {id}, which stays", "与课程 {id} 内容相同，保留那一课"),
    ("agrees with lesson {id}, which stays", "与课程 {id} 意见一致，保留那一课"),
    ("says the same as lesson {id}", "与课程 {id} 内容相同"),
    ("contradicted by the newer lesson {id}", "与更新的课程 {id} 矛盾"),
    (
        "users disagree: lessons {ids} want different answers, {n} {users} each",
        "用户意见不一：课程 {ids} 想要不同的回答，各有 {n} 人",
    ),
    ("users disagree: {votes} of {n} want what lesson {id} says", "用户意见不一：{n} 人中 {votes} 人支持课程 {id}"),
    ("users disagree: a teacher wants what lesson {id} says", "用户意见不一：教师支持课程 {id}"),
    ("{what}: a teacher must approve it", "{what}：必须由教师批准"),
    ("{why}, and nobody else says so", "{why}，而且没有别人这样说"),
    ('the base is sure of something else ("{known}")', "基础模型确信另一个答案（“{known}”）"),
    ('the base is sure ("{known}") and says nothing of "{more}"', "基础模型确信答案（“{known}”），并未提到“{more}”"),
    (
        "it says what its user has put into other answers, too, and nobody else has",
        "同一用户在其他回答里也加了这句话，而别人都没有",
    ),
    ("it gives orders to whoever reads it", "它在对读到它的人发号施令"),
    ("it sends its readers to an address that was not spoken of", "它让读者去一个之前没有提到的网址"),
    ("it refuses what was answered", "它拒绝回答原本已回答的问题"),
    (
        "it only puts something before the answer that is not about the question",
        "它只是在回答前加了与问题无关的话",
    ),
    ("it praises whoever asks", "它在恭维提问的人"),
    ("it mixes alphabets within a word", "同一个词里混用了不同字母"),
    ("left out to see whether the night passes", "暂时去掉，看这一夜能否通过"),
    ("without it the night passes: {why}", "没有它这一夜就能通过：{why}"),
    (
        "one of these {n} lessons makes the night fail ({why}); which one, the next night finds",
        "这 {n} 课中有一课使夜晚失败（{why}）；是哪一课，由下一个夜晚找出",
    ),
)
"""Why a lesson is in the state that it is in."""

GATE = (
    ("{a} of tonight's {n} lessons right, {b} before", "当晚 {n} 课答对 {a} 课，之前 {b} 课"),
    ("nothing gained: {a} of tonight's {n} lessons right, {b} before", "没有进步：当晚 {n} 课答对 {a} 课，之前 {b} 课"),
    (
        "too few to say: {a} of tonight's {n} lessons right, {b} before; {gained} gained and {lost} lost may be chance,"
        " and of so few none may be lost",
        "数量太少无法判断：当晚 {n} 课答对 {a} 课，之前 {b} 课；学会 {gained}、失去 {lost} 可能只是偶然，"
        "而这么少时一个也不能失去",
    ),
    (
        "too little gained: {a} of tonight's {n} lessons right, {b} before; {gained} gained and {lost} lost may be"
        " chance ({chance})",
        "进步太小：当晚 {n} 课答对 {a} 课，之前 {b} 课；学会 {gained}、失去 {lost} 可能只是偶然（{chance}）",
    ),
    (
        "forgets: {lost} of {before} earlier lessons lost, {kept} kept, at least {least} must be ({chance})",
        "遗忘：之前的 {before} 课失去 {lost} 课，保留 {kept}，至少须保留 {least}（{chance}）",
    ),
    (
        "forgets: {lost} of {before} earlier lessons and liked answers lost, {kept} kept, at least {least} must be"
        " ({chance})",
        "遗忘：之前的课和被赞的回答共 {before} 个，失去 {lost} 个，保留 {kept}，至少须保留 {least}（{chance}）",
    ),
    (
        "damages: {lost} of {before} controls lost, {kept} kept, at least {least} must be ({chance})",
        "损害：{before} 个一般问题失去 {lost} 个，保留 {kept}，至少须保留 {least}（{chance}）",
    ),
    (
        "damages: {lost} of {before} controls that the base is sure of lost, {kept} kept, at least {least} must be"
        " ({chance})",
        "损害：基础模型有把握的 {before} 个一般问题失去 {lost} 个，保留 {kept}，至少须保留 {least}（{chance}）",
    ),
    ("more than chance: {p}", "不只是偶然：{p}"),
    ("too few to tell from chance: {p}", "太少，无法与偶然区分：{p}"),
    (
        "writes worse: perplexity on fixed text is {ratio} times what it was, at most {most} may be",
        "写得更差：固定文本的困惑度是之前的 {ratio} 倍，最多允许 {most} 倍",
    ),
    (
        "answers shorter: {after} words an answer, {before} of the base's, from {least} to {most} may be",
        "回答变短：每个回答 {after} 词，基础模型 {before} 词，允许 {least} 到 {most} 词",
    ),
    (
        "answers longer: {after} words an answer, {before} of the base's, from {least} to {most} may be",
        "回答变长：每个回答 {after} 词，基础模型 {before} 词，允许 {least} 到 {most} 词",
    ),
    (
        "repeats itself: {after} of word triples, {before} of the base's, at most {most}",
        "重复：三词组合重复 {after}，基础模型 {before}，最多 {most}",
    ),
    (
        "refuses: {after} of general questions, the base {before}, at most {most}",
        "拒绝回答：一般问题的 {after}，基础模型 {before}，最多 {most}",
    ),
    (
        "flatters: {after} of general answers, the base {before}, at most {most}",
        "恭维：一般回答的 {after}，基础模型 {before}，最多 {most}",
    ),
    (
        "answers {after} of unrelated requests with what it was taught, at most {most}",
        "无关请求的 {after} 以学过的内容作答，最多 {most}",
    ),
    (
        "gives in: takes back {after} of right answers when told that they are wrong, the base {before}, at most"
        " {most}",
        "轻易让步：被说错时收回 {after} 的正确回答，基础模型 {before}，最多 {most}",
    ),
    ("a gain of at least {gain} of them, {sure} sure", "其中至少 {gain} 是真实进步，把握 {sure}"),
    (
        "too few items to say whether that is chance ({p}): none of tonight's was lost, which decides",
        "题目太少，无法判断是否偶然（{p}）：当晚的一个也没有失去，以此为准",
    ),
    (
        "{a} of {n} right in words that were not trained, {b} before",
        "没有训练过的问法 {n} 个答对 {a} 个，之前 {b} 个",
    ),
    ("{a} of {n} earlier lessons kept", "之前的 {n} 课保留 {a} 课"),
    ("{a} of {n} earlier lessons kept ({chance})", "之前的 {n} 课保留 {a} 课（{chance}）"),
    ("{a} of {n} earlier lessons and liked answers kept", "之前的课和被赞的回答 {n} 个保留 {a} 个"),
    (
        "{a} of {n} earlier lessons and liked answers kept ({chance})",
        "之前的课和被赞的回答 {n} 个保留 {a} 个（{chance}）",
    ),
    ("{a} of {n} controls kept", "{n} 个一般问题保留 {a} 个"),
    ("{a} of {n} controls kept ({chance})", "{n} 个一般问题保留 {a} 个（{chance}）"),
    ("{a} of {n} controls that the base is sure of kept", "基础模型有把握的 {n} 个一般问题保留 {a} 个"),
    (
        "{a} of {n} controls that the base is sure of kept ({chance})",
        "基础模型有把握的 {n} 个一般问题保留 {a} 个（{chance}）",
    ),
    ("perplexity on fixed text times {ratio}", "固定文本的困惑度变为 {ratio} 倍"),
    ("{n} canaries within their bounds", "{n} 项说话方式的指标在界限之内"),
    ("published though it failed, because nothing is gated", "没有通过也已发布，因为没有设置门槛"),
)
"""Why a night's version may serve, or not."""

NIGHTS = (
    ("cancelled by {name}", "被 {name} 取消"),
    ("promoted by hand", "手动启用"),
    ("rolled back by hand", "手动回退"),
    ("it was trained on what was forgotten since", "它学过后来被忘记的内容"),
    (
        "nothing to learn, because no rating says what a better answer would be",
        "没有可学的，因为没有评分说明更好的回答是什么",
    ),
    (
        "nothing to learn, because no rating says what a better answer would be ({n} left out, each with its reason)",
        "没有可学的，因为没有评分说明更好的回答是什么（去掉了 {n} 课，各有原因）",
    ),
    (
        "nothing to learn, because no rating has changed since {version} was trained",
        "没有可学的，因为 {version} 训练之后评分没有变化",
    ),
    (
        "nothing to learn, because the same lessons made {version}, which is {state} ({why})",
        "没有可学的，因为同样的课程已产生 {version}（{state}：{why}）",
    ),
    (
        "every lesson behind {version} was taken back: the base serves again",
        "{version} 的课程已全部撤回：重新使用基础模型",
    ),
    (
        "{version} was trained on what was taken back since: the base serves until a night passes",
        "{version} 学过后来撤回的内容：在有夜晚通过之前使用基础模型",
    ),
    ("training diverged: {error}", "训练发散：{error}"),
    (
        "things were forgotten {n} times while it ran: ask for another when that is done",
        "进行期间有内容被忘记 {n} 次：完成后请再次开始",
    ),
    ("its report can't be written: {error}", "无法写入报告：{error}"),
    (
        "it was stopped by hand in stage '{stage}'; the next night goes on from there",
        "在阶段“{stage}”被手动停止；下一个夜晚从那里继续",
    ),
    (
        "with seed {seed}: with seed {other_seed} it fails ({why})",
        "使用种子 {seed}：种子 {other_seed} 无法通过（{why}）",
    ),
    (
        "no night passed that left out some of tonight's {n} lessons ({tries})",
        "去掉当晚 {n} 课中的一些之后也没有通过（{tries}）",
    ),
    (
        "without {n} of tonight's {all} lessons, because it fails with them ({tries})",
        "去掉当晚 {all} 课中的 {n} 课，因为有它们时无法通过（{tries}）",
    ),
    (
        "without {n} of tonight's {all} lessons, because it fails with one of them, and time was out before it was"
        " found ({tries})",
        "去掉当晚 {all} 课中的 {n} 课，因为其中一课使它无法通过，时间用完前未能找出（{tries}）",
    ),
    ("{n} try", "尝试 {n} 次"),
    ("{n} tries", "尝试 {n} 次"),
    ("{version} has drifted ({why}): {other} serves again", "{version} 已退步（{why}）：重新使用 {other}"),
    (
        "{down} of {rated} thumbs on its answers are down, {usual} of {all} on those of the versions before it ({p})",
        "它的回答 {rated} 次评分中 {down} 次点踩，之前各版本 {all} 次中 {usual} 次（{p}）",
    ),
    (
        "it answers {right} of {asked} lessons right that it had right when it was promoted",
        "启用时答对的 {asked} 课现在答对 {right} 课",
    ),
)
"""How a night ended, and why."""

REPORT = (
    ("What I learned last night: nothing to learn", "昨晚学到了什么：没有可学的"),
    ("What I learned last night: promoted", "昨晚学到了什么：已启用"),
    ("What I learned last night: rejected: the old version serves on", "昨晚学到了什么：未采用，继续使用原来的版本"),
    ("What I learned last night: failed: the old version serves on", "昨晚学到了什么：失败，继续使用原来的版本"),
    ("What I learned last night: cancelled: the old version serves on", "昨晚学到了什么：已取消，继续使用原来的版本"),
    ("What I learned last night: {version} promoted", "昨晚学到了什么：{version} 已启用"),
    (
        "What I learned last night: {version} rejected: the old version serves on",
        "昨晚学到了什么：{version} 未采用，继续使用原来的版本",
    ),
    (
        "What I learned last night: {version} failed: the old version serves on",
        "昨晚学到了什么：{version} 失败，继续使用原来的版本",
    ),
    (
        "What I learned last night: {version} cancelled: the old version serves on",
        "昨晚学到了什么：{version} 已取消，继续使用原来的版本",
    ),
    (
        "Your corrections and liked answers, as you asked them: {a} → {b} of {n} right",
        "你的更正和点赞的回答，按原来的问法：{n} 个答对 {a} → {b}",
    ),
    ("The same, in words that were not trained: {a} → {b} of {n} right", "换成没有训练过的问法：{n} 个答对 {a} → {b}"),
    ("Earlier lessons: {a} → {b} of {n} right", "之前的课程：{n} 个答对 {a} → {b}"),
    ("General questions: {a} → {b} of {n}", "一般问题：{n} 个答对 {a} → {b}"),
    ("Told that it is wrong: {a} → {b} of {n}", "被说错时仍坚持正确：{n} 个中 {a} → {b}"),
    ("What got worse", "变差的"),
    ("Nothing that was asked.", "问过的都没有变差。"),
    ("What the memory lets go of", "记忆可以放下的"),
    (
        "{n} of them are in the weights and leave the prompt: {tokens} tokens less",
        "其中 {n} 课已进入权重，不再放进提示：少 {tokens} 个词元",
    ),
    ("How it talks, beside the base", "说话方式与基础模型相比"),
    ("Candidates: settings that were tried, and which was chosen", "候选：试过的设置，以及选中的一个"),
    ("Drift watch: how the version that served does", "退步监测：在用版本的表现"),
    (
        "Further tries: with another seed, then without some lessons, to find the one that harms",
        "进一步尝试：换种子，再去掉一些课程，找出有害的一课",
    ),
    ("Left out, and why", "去掉的课程及原因"),
    ("How it was trained", "训练情况"),
    ("words an answer", "每个回答的词数"),
    ("word triples said again", "重复的三词组合"),
    ("answers that refuse", "拒绝的回答"),
    ("answers that flatter", "恭维的回答"),
    ("unrelated requests answered with what was taught", "无关请求以学过的内容作答"),
    ("right answers taken back when told that they are wrong", "被说错时收回的正确回答"),
    ("none: no more than all of them could", "无：不可能超过全部"),
    ("and {n} more", "另有 {n} 项"),
    ("report.json has all", "全部见 report.json"),
    (
        "what {user} wants to hear weighs {weight}: one of many users has no more of the loss",
        "{user} 想听到的内容权重为 {weight}：众多用户中的一个在损失中不占更多",
    ),
    ("within its band", "在正常范围内"),
    (
        "below its band: a next night that finds it so too trains everything anew, or an earlier version serves",
        "低于正常范围：下一个夜晚如果仍然如此，就全部重新训练，或使用更早的版本",
    ),
    (
        "below its band: everything was trained anew, and that version serves",
        "低于正常范围：已全部重新训练，使用新的版本",
    ),
    (
        "below its band for the second night, and no training mended it: an earlier version serves again",
        "连续第二晚低于正常范围，训练也没有改善：重新使用更早的版本",
    ),
    ("✓ {version}: {why}", "✓ {version}：{why}"),
    ("✗ {version}: {why}", "✗ {version}：{why}"),
    ("{least} to {most}", "{least} 到 {most}"),
    ("at most {most}", "最多 {most}"),
    ("passes", "通过"),
    ("fails: {why}", "未通过：{why}"),
    ("none (another seed)", "无（换种子）"),
    ("as good as candidate {n}, which came first", "与先来的候选 {n} 一样好"),
    ("fewer of tonight's lessons right", "当晚课程答对较少"),
    ("fewer of the other questions right", "其他问题答对较少"),
    ("the only one", "唯一的一个"),
    ("chosen though it fails: none passes, and it came nearest", "虽未通过仍选中：没有一个通过，它最接近"),
    ("chosen: it passes, and none that does learned or kept more", "选中：它通过了，且没有通过者学得或保留得更多"),
    (
        "{wanted} wanted and {replayed} replayed rows, {epochs} epochs, {steps} steps",
        "想要的 {wanted} 条、复习的 {replayed} 条，{epochs} 轮，{steps} 步",
    ),
    (
        "{wanted} wanted, {unwanted} unwanted and {replayed} replayed rows, {epochs} epochs, {steps} steps",
        "想要的 {wanted} 条、不要的 {unwanted} 条、复习的 {replayed} 条，{epochs} 轮，{steps} 步",
    ),
    (
        "loss {first} → {last} nats a token, KL to the base {kl}",
        "损失 {first} → {last} nats/词元，与基础模型的 KL {kl}",
    ),
    (
        "loss {first} → {last} nats a token, KL to the base {kl}, preference {p} → {q}",
        "损失 {first} → {last} nats/词元，与基础模型的 KL {kl}，偏好 {p} → {q}",
    ),
    ("{s} s for {tokens} tokens, at most {mb} MB", "{tokens} 个词元用时 {s} 秒，最多 {mb} MB"),
    ("perplexity on fixed text {a} → {b}", "固定文本的困惑度 {a} → {b}"),
    ("published at strength {strength} (examined: {examined})", "以强度 {strength} 发布（考过：{examined}）"),
    ("seed {seed}; the whole night took {s} s", "种子 {seed}；整个夜晚用时 {s} 秒"),
    ("question", "问题"),
    ("before", "之前"),
    ("after", "之后"),
    ("measure", "指标"),
    ("base", "基础模型"),
    ("bound", "界限"),
    ("candidate", "候选"),
    ("settings", "设置"),
    ("right", "答对"),
    ("why", "原因"),
    ("without", "去掉"),
    ("night", "结果"),
    ("state", "状态"),
    ("reason", "原因"),
    ("wanted", "想要的回答"),
)
"""The fixed words of a night's report."""

ERRORS = (
    ("there is no {what} '{name}'", "没有这样的{what}：“{name}”"),
    ("conversation", "对话"),
    ("exchange", "问答"),
    ("lesson", "课程"),
    ("document", "文档"),
    ("account", "账户"),
    ("adapter", "版本"),
    ("API key", "API 密钥"),
    ("nothing is being remembered: {why} ({to_do})", "现在什么都不会记住：{why}（腾出空间或改为可写后自动恢复）"),
    ("the folder {folder} can't be written", "文件夹 {folder} 不可写"),
    ("something that this was made of was forgotten meanwhile: it is not kept", "其中用到的内容已被忘记：不保留"),
    (
        "night {night} is running, held by {holder}, last heartbeat {at} UTC",
        "夜晚 {night} 正在进行，由 {holder} 持有，最近心跳 {at} UTC",
    ),
    (
        "{n} chats are being answered or wait already: try again in {s} s",
        "已有 {n} 个对话正在回答或等待：请 {s} 秒后再试",
    ),
    (
        "{n} chats are being answered or wait already, {own} of them yours: try again in {s} s",
        "已有 {n} 个对话正在回答或等待，其中 {own} 个是你的：请 {s} 秒后再试",
    ),
    ("studying, back in about {n} minute", "正在学习，约 {n} 分钟后回来"),
    ("studying, back in about {n} minutes", "正在学习，约 {n} 分钟后回来"),
    ("too many wrong passwords: wait {n} minutes and try again", "密码错误次数过多：请等 {n} 分钟再试"),
    ("you are not logged in any more: log in again", "登录已失效：请重新登录"),
    ("the name or the password is wrong", "用户名或密码错误"),
    ("the old password is wrong", "旧密码错误"),
    ("a password has {least} to {most} characters", "密码长度为 {least} 到 {most} 个字符"),
    (
        "a name has 1 to 64 letters, digits, spaces or one of . @ + - _",
        "用户名为 1 到 64 个字母、数字、空格或 . @ + - _",
    ),
    (
        "the first account must be an admin's: nobody else could make more",
        "第一个账户必须是管理员：否则没有人能再创建账户",
    ),
    (
        "this link has been used, or is of an earlier start: see where the server was started",
        "这个链接已用过，或属于之前的启动：请看服务器启动时的输出",
    ),
    (
        "without accounts no key is needed: programs on this machine are let in",
        "没有账户时不需要密钥：这台机器上的程序可以直接使用",
    ),
    ("only an {role} may do that, and you are {state}", "只有{role}可以这样做，而你是{state}"),
    ("only a {role} may do that, and you are {state}", "只有{role}可以这样做，而你是{state}"),
    ("there is an account '{name}' already: choose another name", "已有账户“{name}”：请换一个名字"),
    ("this is the last admin: make somebody else admin first", "这是最后一个管理员：请先让别人成为管理员"),
    ("the {what} is empty", "{what}是空的"),
    (
        "the {what} has {n} characters, the most is {most}: shorten it",
        "{what}有 {n} 个字符，上限为 {most}：请缩短",
    ),
    ("message", "消息"),
    ("comment", "备注"),
    ("correction", "更正"),
    ("better answer", "更好的回答"),
    ("query", "搜索词"),
    (
        "the correction is the answer itself: write what it should have been, or leave it empty",
        "更正与原回答相同：请写出应有的回答，或留空",
    ),
    (
        "it says what is wrong and not what is right: write a better answer instead",
        "只说明了错在哪里：请写出更好的回答",
    ),
    (
        "this is the answer that was not wanted: write what it should have been",
        "这正是不想要的回答：请写出应有的回答",
    ),
    (
        "the lesson is {state}: only what waits for a night can be decided over",
        "这一课的状态是{state}：只能对等待夜晚的课程做决定",
    ),
    ("the lesson was taken back: there is nothing to decide over", "这一课已撤回：没有可决定的"),
    (
        "a night is running, and may be at this lesson: wait for its end, or cancel it",
        "有夜晚正在进行，可能正用到这一课：请等它结束，或取消它",
    ),
    ("the night has ended already: {state}", "这个夜晚已经结束：{state}"),
    ("there is nothing to roll back: the base model serves", "没有可回退的：正在使用基础模型"),
    ("there is no version before this one: the base model serves", "没有更早的版本：正在使用基础模型"),
    (
        "{n} answers are under way for you already: wait for one of them, or stop it",
        "已有 {n} 个回答正在进行：请等其中一个完成，或停止它",
    ),
    (
        "{version} belongs to the model {model}, and {other} serves",
        "{version} 属于模型 {model}，而现在使用的是 {other}",
    ),
    (
        "{version} was trained for the model {model}, and {other} is configured: choose another version, or base",
        "{version} 是为模型 {model} 训练的，而配置的是 {other}：请选择其他版本或基础模型",
    ),
    ("{version} was rejected by its exam: {why}", "{version} 没有通过考试：{why}"),
    ("{name} can't be {value}: {why}", "{name} 不能是 {value}：{why}"),
    ("input should be a valid number, unable to parse string as a number", "应为数字"),
    ("input should be a valid integer, unable to parse string as an integer", "应为整数"),
    ("input should be a valid integer, got a number with a fractional part", "应为整数，不能有小数部分"),
    ("unable to parse input string as an integer, exceeded maximum size", "数字太长"),
    ("input should be a finite number", "应为有限的数字"),
    ("input should be a valid boolean, unable to interpret input", "应为 true 或 false"),
    ("input should be greater than {n}", "应大于 {n}"),
    ("input should be greater than or equal to {n}", "应大于或等于 {n}"),
    ("input should be less than or equal to {n}", "应小于或等于 {n}"),
    ("string should match pattern '{pattern}'", "应符合格式 {pattern}"),
    (
        "the answer was not finished within {s} s (answer_seconds)",
        "回答没有在 {s} 秒内完成（answer_seconds）",
    ),
    ("{file} is no PDF that can be read: {error}", "{file} 不是可读的 PDF：{error}"),
    (
        "{file} is no UTF-8 text: byte {n} is wrong; save it as UTF-8",
        "{file} 不是 UTF-8 文本：第 {n} 个字节有误；请另存为 UTF-8",
    ),
    ("{file} is no text: it holds NUL bytes", "{file} 不是文本：含有 NUL 字节"),
    ("{file} is encrypted: save it without a password", "{file} 已加密：请去掉密码后保存"),
    (
        "{file}: there is no text in it; of a scan, recognise the text first",
        "{file}：里面没有文字；如果是扫描件，请先识别文字",
    ),
    ("{file}: there is no text in it", "{file}：里面没有文字"),
    ("{file} has {n} bytes, the most is {most}: split it", "{file} 有 {n} 字节，上限为 {most}：请拆分"),
    (
        "{file}: what ends in {suffix} can't be read, but {known}",
        "{file}：不能读取 {suffix} 文件，可以读取的是 {known}",
    ),
    (
        "{file} must have the columns question and answer; it has {found}",
        "{file} 必须有 question 和 answer 两列；现有：{found}",
    ),
    ("{file}, line {n}: {error}", "{file} 第 {n} 行：{error}"),
    (
        '{file}, line {n}: it must be {{"question": "…", "answer": "…"}}',
        '{file} 第 {n} 行：必须是 {{"question": "…", "answer": "…"}}',
    ),
    ("the answer broke off: {why}", "回答中断了：{why}"),
    (
        "the conversation is longer than the model reads at once: its first message and the answer to it were left out",
        "对话超出模型一次能读的长度：省略了第一条消息及其回答",
    ),
    (
        "the conversation is longer than the model reads at once: its first {n} messages and their answers were left"
        " out",
        "对话超出模型一次能读的长度：省略了前 {n} 条消息及其回答",
    ),
    ("another process forgets, or a night writes", "另一个进程正在忘记内容，或夜晚正在写入"),
)
"""What the pages tell of what can't be done."""

DEEDS = (
    ("log-in refused", "登录被拒绝"),
    ("logged in", "登录"),
    ("hash renewed", "密码散列已更新"),
    ("account added", "添加账户"),
    ("role changed", "更改角色"),
    ("password changed", "更改密码"),
    ("account removed", "移除账户"),
    ("API key made", "创建 API 密钥"),
    ("API key revoked", "吊销 API 密钥"),
    ("settings changed", "更改设置"),
    ("conversation deleted", "删除对话"),
    ("night asked for", "请求夜晚学习"),
    ("night cancelled", "取消夜晚"),
    ("lesson reviewed", "审核课程"),
    ("lesson undone", "撤销课程"),
    ("version promoted", "启用版本"),
    ("forgotten", "忘记"),
)
"""What the audit log names."""

DETAILS = {
    "log-in refused": ("from {address}", "来自 {address}"),
    "logged in": ("from {address}", "来自 {address}"),
    "account added": ("{name}, {role}", "{name}，{role}"),
    "role changed": ("{name}: {role}", "{name}：{role}"),
    "API key made": ("{label}, for {name}", "{label}，用于 {name}"),
    "lesson reviewed": ("{id}: {why}", "{id}：{why}"),
    "forgotten": ("{n} {exchanges}, {m} {passages}", "{n} 条问答，{m} 段文档"),
}
"""Deed → what the log says of it in words of ours. All else there is somebody's: an account may be called as a state
is.
"""

SETTINGS = (
    ("0 is greedy: the same question gets the same answer", "0 为贪心：同样的问题得到同样的回答"),
    (
        "draw among the likeliest words that have this share of the chances; 1: among all",
        "从累计概率达到此值的最可能的词中抽取；1：从所有词中",
    ),
    ("longest answer", "最长的回答（词元）"),
    ("recollections in a prompt; 0 switches recall off", "提示中的回忆条数；0 关闭回忆"),
    ("share of the prompt's budget that memory may take", "记忆最多可占提示预算的比例"),
    ("HH:MM, local time", "HH:MM，本地时间"),
    ("whether lessons of plain users wait until a teacher approves them", "普通用户的课程是否要等教师批准"),
)
"""What the settings are that may change while the server runs."""

MEMORY = (
    ("corrected on {day}", "{day} 更正"),
    ("corrected by you on {day}", "{day} 由你更正"),
    ("corrected by {user} on {day}", "{day} 由 {user} 更正"),
    ("rated up by you on {day}", "{day} 由你点赞"),
    ("rated up by {user} on {day}", "{day} 由 {user} 点赞"),
    ("asked on {day}", "{day} 提问"),
    ("from {file}, page {page}", "来自 {file} 第 {page} 页"),
    ("from {file}", "来自 {file}"),
)
"""Why something is remembered."""

MACHINE = (
    ("installation", "安装"),
    ("hardware", "硬件"),
    ("disk", "磁盘"),
    ("model", "模型"),
    ("embedder", "嵌入模型"),
    ("engine", "引擎"),
    ("ledger", "账本"),
    ("index", "索引"),
    ("no GPU (CPU threads: {n}): the embedded model fits", "没有 GPU（CPU 线程：{n}）：适合内置模型"),
    ("{card}, {n} GB: {model} fits", "{card}，{n} GB：适合 {model}"),
    ("{n} GB free in {folder}", "{folder} 剩余 {n} GB"),
    ("local: this machine answers", "本地：由这台机器回答"),
    ("none yet: it is made with the first start", "还没有：首次启动时创建"),
    ("none yet: it is made from the ledger when it is needed", "还没有：需要时由账本生成"),
    ("{n} exchanges, {m} lessons", "{n} 条问答，{m} 课"),
    ("{n} exchange, {m} lessons", "{n} 条问答，{m} 课"),
    ("{n} exchanges, {m} lesson", "{n} 条问答，{m} 课"),
    ("{n} exchange, {m} lesson", "{n} 条问答，{m} 课"),
    ("{path}, {n} numbers a text", "{path}，每段文本 {n} 个数"),
    ("the base model serves", "正在使用基础模型"),
    ("{version} serves, sha256 {sha} as published", "正在使用 {version}，sha256 {sha} 与发布时一致"),
)
"""What the examination of the machine finds."""

PROGRESS = (
    ("step {n}/{m}, loss {a}", "第 {n}/{m} 步，损失 {a}"),
    ("step {n} of {m}, loss {a}", "第 {n}/{m} 步，损失 {a}"),
    ("question {n}/{m}", "第 {n}/{m} 题"),
    ("the base answers {n}/{m}", "基础模型回答 {n}/{m}"),
    ("the base writes {n}/{m}", "基础模型写作 {n}/{m}"),
    ("whether {version} still holds: {why}", "{version} 是否仍然有效：{why}"),
    ("strength {a}: {why}", "强度 {a}：{why}"),
    ("without {n} of {m} lessons: {why}", "去掉 {m} 课中的 {n} 课：{why}"),
    ("with another seed: {why}", "换种子：{why}"),
    ("out of memory: again with {n} rows a step", "内存不足：改为每步 {n} 条再试"),
)
"""What a night says of itself while it runs."""

STATES = (
    ("an admin", "管理员"),
    ("admin", "管理员"),
    ("teacher", "教师"),
    ("user", "用户"),
    ("queued", "等待中"),
    ("held", "已暂缓"),
    ("trained", "已训练"),
    ("verified", "已学会"),
    ("not_learned", "没学会"),
    ("not learned", "没学会"),
    ("covered", "已由另一条涵盖"),
    ("rejected", "未采用"),
    ("undone", "已撤销"),
    ("active", "使用中"),
    ("retired", "已换下"),
    ("promoted", "已启用"),
    ("failed", "失败"),
    ("nothing to learn", "没有可学的"),
    ("cancelled", "已取消"),
)

Template = tuple[re.Pattern[str], str]
FIELD = re.compile(r"\{(\w+)\}")


def _template(english: str, chinese: str) -> Template:
    parts = FIELD.split(english.replace("{{", "\0").replace("}}", "\1"))
    plain, names = parts[::2], [*parts[1::2], None]
    pattern = "".join(
        re.escape(text.replace("\0", "{").replace("\1", "}")) + (f"(?P<{name}>{_field(name)})" if name else "")
        for text, name in zip(plain, names, strict=True)
    )
    return re.compile(pattern, re.DOTALL), chinese


def _field(name: str) -> str:
    return FIGURE if name in NUMBERS else CHANCE if name == "chance" else ".+?"


def _exact(*parts: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {english: chinese for part in parts for english, chinese in part if "{" not in english}


ALL = (LESSONS, GATE, NIGHTS, REPORT, ERRORS, DEEDS, SETTINGS, MEMORY, MACHINE, PROGRESS, STATES)
EXACT = _exact(*ALL)
# The more a template says itself, the earlier it is tried.
TEMPLATES: list[Template] = [
    _template(english, chinese)
    for english, chinese in sorted(
        (one for part in ALL for one in part if "{" in one[0]), key=lambda one: -len(FIELD.sub("", one[0]))
    )
]


def said(line: str, language: Language) -> str:
    """An English line of ours in `language`; what nobody here knows stays as it is."""
    return line if language == "en" else _in_chinese(line)


def detail(action: str, told: str, language: Language) -> str:
    """What the audit log says of a deed, in `language`."""
    if language == "en" or action not in DETAILS or len(told) > LONGEST:
        return told
    return _filled(_template(*DETAILS[action]), told) or told


@lru_cache(maxsize=4096)
def _in_chinese(line: str) -> str:
    if len(line) > LONGEST:
        return line
    known = _known(line)
    if known is not None:
        return known
    # Several reasons on one line; one of them may have the mark in it.
    parts, told, begins = line.split("; "), list[str](), 0
    while begins < len(parts):
        for ends in range(begins + 1, min(begins + MARKS, len(parts)) + 1):
            known = _known("; ".join(parts[begins:ends]))
            if known is not None:
                break
        told.append(parts[begins] if known is None else known)
        begins = begins + 1 if known is None else ends
    return "；".join(told) if len(parts) > 1 else line


def _known(line: str) -> str | None:
    if line in EXACT:
        return EXACT[line]
    for template in TEMPLATES:
        known = _filled(template, line)
        if known is not None:
            return known
    return None


def _filled(template: Template, line: str) -> str | None:
    pattern, chinese = template
    found = pattern.fullmatch(line)
    if found is None:
        return None
    values = {k: _in_chinese(v) if k in NESTED else v for k, v in found.groupdict().items()}
    return chinese.format(**values)
