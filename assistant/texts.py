"""What the pages say, in English and Chinese: key → (English, Chinese). The browser's language chooses.

Widgets get the key and are translated in the browser; what the server writes is translated by `text`. Reasons and
errors come from deeper down, where nobody knows a browser, and are English.
"""

from __future__ import annotations

from typing import Any, Literal

Language = Literal["en", "zh"]

TEXTS: dict[str, tuple[str, str]] = {
    # the door
    "door.name": ("Name", "用户名"),
    "door.password": ("Password", "密码"),
    "door.new": ("New password (10 characters or more)", "新密码（至少 10 个字符）"),
    "door.old": ("Old password", "旧密码"),
    "door.login.title": ("Log in", "登录"),
    "door.login.about": (
        "Nightschool remembers what you tell it, and keeps it to you.",
        "Nightschool 会记住你说的话，只给你看。",
    ),
    "door.login.action": ("Log in", "登录"),
    "door.first.title": ("The first account", "第一个账户"),
    "door.first.about": (
        "It is an admin's, and owns what was said here so far. From now on everybody logs in.",
        "这是管理员账户，拥有此前的全部对话。此后每个人都要登录。",
    ),
    "door.first.action": ("Make the account", "创建账户"),
    "door.password.title": ("A new password", "修改密码"),
    "door.password.about": ("All other browsers are logged out.", "其他浏览器都会退出登录。"),
    "door.password.action": ("Change it", "修改"),
    # the way between the pages
    "nav.chat": ("Chat", "聊天"),
    "nav.history": ("History", "历史"),
    "nav.memory": ("Memory", "记忆"),
    "nav.learning": ("Learning", "学习"),
    "nav.admin": ("Admin", "管理"),
    # memory
    "memory.about": ("What was said, and what holds of it now.", "说过的话，以及现在仍然有效的内容。"),
    "memory.search": ("Search", "搜索"),
    "memory.search.hint": ("By meaning and by words", "按含义和词语"),
    "memory.show": ("Show", "显示"),
    "memory.everything": ("Everything", "全部"),
    "memory.correction": ("Corrections", "更正"),
    "memory.exchange": ("Exchanges", "对话"),
    "memory.document": ("Documents", "文档"),
    "memory.hidden": ("Not to be recalled", "不用于回忆"),
    "memory.on": ("Use what is remembered for my answers", "在我的回答中使用记忆"),
    "memory.newer": ("Back", "上一页"),
    "memory.older": ("More", "下一页"),
    "memory.behind": (
        "Still being taken in: {n}. Until then it is found by its words.",
        "还有 {n} 条正在读入：在此之前只能按词语找到。",
    ),
    "memory.repeats": (
        "Answers that stay and were made with it: {n}. They may repeat it: look through the History, and forget those"
        " too.",
        "保留下来的 {n} 条回答用到过它，可能重复其内容：请在历史中查看并一并忘记。",
    ),
    "memory.unfinished": (
        "Another process is at the ledger or the index: the last traces go with the next question.",
        "另一个进程正在使用账本或索引：最后的痕迹将随下一个问题清除。",
    ),
    "memory.one.correction": ("correction", "更正"),
    "memory.one.exchange": ("exchange", "对话"),
    "memory.one.document": ("document", "文档"),
    "memory.export": ("Export everything as JSON lines", "导出全部（JSON lines）"),
    "memory.look": ("Look", "查看"),
    "memory.holds": ("The answer that holds", "有效的回答"),
    "memory.use": ("Its conversation", "所属对话"),
    "memory.remember": ("Recall it in later answers", "在以后的回答中使用"),
    "memory.train": ("Let nights train on it", "允许夜间训练"),
    "memory.forget.short": ("Forget", "忘记"),
    "memory.forget": ("Forget this", "忘记这一条"),
    "memory.forget.conversation": ("Forget its conversation", "忘记整个对话"),
    "memory.along": (
        "When forgetting, take along the answers that were made with it, and what follows it in its conversation",
        "忘记时，连同用到它的回答以及对话中在它之后的内容一起删除",
    ),
    "memory.forget.title": ("Forget this?", "忘记这一条？"),
    "memory.forget.means": (
        "The question, its answer, their ratings and lessons are deleted for good. What was learned from them is still"
        " in the weights until the next night, which trains without them.",
        "这个问题、它的回答以及相应的评分和课程会永久删除。已经学进权重的内容要到下一个夜晚才会忘掉，届时训练不再包含它们。",
    ),
    "memory.forget.conversation.title": ("Forget its whole conversation?", "忘记整个对话？"),
    "memory.forgotten": (
        "Forgotten. Exchanges: {exchanges}, passages: {passages}.",
        "已忘记：{exchanges} 条对话，{passages} 段文档。",
    ),
    "memory.weights": (
        "Forgotten lessons that are in the weights until the next night: {n}.",
        "{n} 条已忘记的内容仍在模型权重中，下一个夜晚之后消失。",
    ),
    "memory.choose": ("Choose something first.", "请先选择一项。"),
    "memory.saved": ("Saved.", "已保存。"),
    "memory.none": ("Nothing like that is remembered.", "没有记住这样的内容。"),
    "memory.empty": (
        "Nothing is remembered yet. What you say in the chat is, from the first word, and so are documents.",
        "还没有记住任何内容。你在聊天里说的话马上就会记住，文档也是。",
    ),
    "memory.file.added": ("{name} is remembered now. Passages: {n}.", "已记住 {name}，共 {n} 段。"),
    "memory.file.replaced": (
        "{name} is remembered anew, in place of the older one. Passages: {n}.",
        "已重新记住 {name}，替换了旧版本，共 {n} 段。",
    ),
    "memory.file.known": ("{name} was remembered already.", "{name} 早已记住。"),
    "memory.used": ("Used for:", "用于："),
    "memory.unused": ("No answer has used it yet.", "还没有回答用到它。"),
    "memory.documents": ("Documents", "文档"),
    "memory.documents.none": ("No document yet: add one above.", "还没有文档：请在上方添加。"),
    "memory.add": (
        "Add documents (txt, md, pdf; csv and jsonl of question and answer)",
        "添加文档（txt、md、pdf；问答的 csv 和 jsonl）",
    ),
    "memory.remove": ("Remove", "删除"),
    "memory.remove.title": ("Remove this document?", "删除这个文档？"),
    "memory.remove.means": (
        "Nothing of it is recalled any more. To have it again, add the file again.",
        "以后不会再用到它的任何内容。需要时请重新添加文件。",
    ),
    "memory.head.kind": ("Kind", "类型"),
    "memory.head.question": ("Question", "问题"),
    "memory.head.holds": ("What holds", "有效内容"),
    "memory.head.why": ("Why", "原因"),
    "memory.head.meaning": ("Meaning", "含义"),
    "memory.head.words": ("Words", "词语"),
    "memory.head.document": ("Document", "文档"),
    "memory.head.passages": ("Passages", "段落"),
    "memory.head.added": ("Added", "添加时间"),
    "memory.head.do": ("Change", "更改"),
    # chat
    "chat.welcome": (
        "## What would you like to talk about?\nI remember what you tell me at once. Rate an answer, or write a better"
        " one: I learn from it overnight.",
        "## 想聊些什么？\n你说的话我马上就会记住。给回答打分，或写一个更好的回答：我会在夜里学会它。",
    ),
    "chat.conversation": ("Conversation", "对话"),
    "chat.message": ("Message", "消息"),
    "chat.write": ("Write a message", "输入消息"),
    "chat.send": ("Send", "发送"),
    "chat.stop": ("Stop", "停止"),
    "chat.memory": ("Use memory", "使用记忆"),
    "use.title": ("What this chat may be used for", "这个对话可以用于"),
    "use.both": ("Remember and learn", "记住并学习"),
    "use.remember": ("Remember only", "只记住"),
    "use.train": ("Learn only", "只学习"),
    "use.neither": ("Neither", "都不"),
    "use.untrained": (
        "nights leave it out, as is set for its conversation",
        "按照该对话的设置，夜间训练不会用到它",
    ),
    "chat.again": ("Answer again", "重新回答"),
    "chat.new": ("New chat", "新对话"),
    "chat.temporary": ("Temporary", "临时对话"),
    "chat.temporary.about": (
        "Temporary chat: nothing of it is kept. It is gone when you leave or reload the page.",
        "临时对话：不会保留任何内容，离开或刷新页面后就消失。",
    ),
    "chat.wordless": ("stopped before the first word", "第一个词之前就停止了"),
    "chat.earlier": ("Show what was said before", "显示更早的内容"),
    "chat.before": ("{before} before you…", "您前面还有 {before} 个…"),
    "chat.broke": ("The answer broke off. The server's log says why.", "回答中断了。原因见服务器日志。"),
    "chat.one": (
        "An answer is being written: wait for its end, or stop it.",
        "正在写一个回答：请等它写完，或停止它。",
    ),
    "chat.older": (
        "The server knows nothing of this page any more: reload it. What you have typed was not sent.",
        "服务器已不认识这个页面：请刷新页面。输入的内容没有发送。",
    ),
    "chat.forgotten": (
        "The server knows nothing of this page any more: reload it.",
        "服务器已不认识这个页面：请刷新页面。",
    ),
    "edit.about": (
        "You are editing an earlier message. What you send opens a new branch; the old one stays.",
        "正在编辑之前的消息。发送后会开启新的分支，原来的分支仍然保留。",
    ),
    "edit.cancel": ("Don't edit", "取消编辑"),
    "where.title": ("Where this answer comes from", "这个回答从何而来"),
    "where.base": ("the base model", "基础模型"),
    "where.version": ("version {name}", "版本 {name}"),
    "where.nothing": ("Nothing remembered bears on it.", "没有用到任何记忆。"),
    "where.recalled": ("Remembered for it, nearest first:", "为此想起的内容，最相近的在前："),
    "where.gone": ("(deleted since)", "（已删除）"),
    "where.stopped": ("stopped", "已停止"),
    "where.filtered": ("cut off by the model's server", "被模型服务器截断"),
    "where.length": ("cut off at the longest answer", "达到回答长度上限而截断"),
    "where.writing": ("The answer is being written.", "正在写回答。"),
    "duel.switch": ("Compare blindly", "盲选比较"),
    "duel.about": (
        "Two versions have answered. Which answer is better? You learn which was which afterwards.",
        "两个版本各给出一个回答。哪个更好？选完才会揭晓是哪个版本。",
    ),
    "duel.writing": (
        "Two versions answer, one after the other. You can choose once both have.",
        "两个版本正在依次回答。都答完后就可以选择。",
    ),
    "duel.left": ("The first is better", "第一个更好"),
    "duel.right": ("The second is better", "第二个更好"),
    "duel.neither": ("No difference", "没有差别"),
    "duel.was.left": ("You chose {left}; the other one was {right}.", "你选了 {left}；另一个是 {right}。"),
    "duel.was.right": ("You chose {right}; the other one was {left}.", "你选了 {right}；另一个是 {left}。"),
    "duel.was.neither": (
        "Nothing was rated. The first was {left}, the second {right}.",
        "没有打分。第一个是 {left}，第二个是 {right}。",
    ),
    "thumb.why": ("Why?", "为什么？"),
    "thumb.good": ("What is good about the answer to “{question}”", "“{question}”的回答好在哪里"),
    "thumb.bad": ("What is wrong with the answer to “{question}”", "“{question}”的回答有什么问题"),
    "thumb.better": ("A better answer", "更好的回答"),
    "thumb.better.hint": (
        "What should it have said? This is what is learned best.",
        "应该怎么说？这样学得最好。",
    ),
    "thumb.comment": ("Comment", "备注"),
    "thumb.optional": ("Optional", "可不填"),
    "thumb.save": ("Save", "保存"),
    "thumb.close": ("Close", "关闭"),
    "thumb.back": ("Rating taken back", "已撤回评分"),
    "thumb.nothing": (
        "Nothing is learned of it: the answer was not whole. Add the whole one, or rate another.",
        "不会从中学习：这个回答不完整。请补上完整的回答，或给别的回答打分。",
    ),
    "thumb.temporary": (
        "Of a temporary chat nothing is kept, and so no rating either.",
        "临时对话不保留任何内容，评分也不保留。",
    ),
    "thumb.unstored": (
        "This answer is not in the ledger, so its rating can't be kept.",
        "这个回答没有存入账本，无法保留评分。",
    ),
    "reason.correct": ("correct", "正确"),
    "reason.clear": ("clear", "清楚"),
    "reason.well written": ("well written", "写得好"),
    "reason.creative": ("creative", "有创意"),
    "reason.other": ("other", "其他"),
    "reason.inaccurate": ("inaccurate", "不准确"),
    "reason.off-topic": ("off-topic", "跑题"),
    "reason.too long": ("too long", "太长"),
    "reason.bad style": ("bad style", "文风不好"),
    "reason.refused without cause": ("refused without cause", "无故拒绝"),
    "reason.unsafe": ("unsafe", "不安全"),
    # what is asked before something is done
    "dialog.cancel": ("Cancel", "取消"),
    "dialog.save": ("Save", "保存"),
    # history
    "history.search": ("Search your conversations", "搜索对话"),
    "history.search.hint": ("Words that were said", "输入说过的词"),
    "history.title": ("Title", "标题"),
    "history.rename": ("Rename", "重命名"),
    "history.delete": ("Delete this conversation?", "删除这个对话？"),
    "history.delete.short": ("Delete", "删除"),
    "history.delete.do": ("Delete it for good", "永久删除"),
    "history.delete.means": (
        "Its messages, ratings and lessons are gone at once, here and from memory. What was learned from them is still"
        " in the weights until the next night, which trains without them. Answers that already quoted it, and backups,"
        " stay as they are.",
        "其中的消息、评分和课程会立即从这里和记忆中消失。已经学进权重的内容要到下一个夜晚才会忘掉，届时训练不再包含它们。"
        "引用过它的其他回答以及备份不会改变。",
    ),
    "history.deleted": (
        "Deleted. The next night trains without it.",
        "已删除。下一个夜晚的训练不再包含它。",
    ),
    "history.none": (
        "No conversations yet. What you say in the chat is found here again.",
        "还没有对话。你在聊天里说的话都可以在这里找到。",
    ),
    "history.none.found": (
        "No conversation has all of these words. Try fewer, or parts of them.",
        "没有同时包含这些词的对话。请减少几个词，或只输入一部分。",
    ),
    "history.more": ("Older conversations are found by their words.", "更早的对话请用搜索查找。"),
    "history.exchange": ("1 exchange", "1 轮"),
    "history.exchanges": ("{n} exchanges", "{n} 轮"),
    "history.today": ("Today", "今天"),
    "history.yesterday": ("Yesterday", "昨天"),
    "history.week": ("The last seven days", "最近七天"),
    # the list beside the chat
    "beside.title": ("Conversations", "对话"),
    "beside.none": ("What you talk about is found here again.", "聊过的内容会出现在这里。"),
    "beside.all": ("All of them, and search", "全部对话与搜索"),
    "beside.hide": ("Hide the conversations", "隐藏对话列表"),
    "beside.show": ("Show the conversations", "显示对话列表"),
    # learning
    "learning.about": (
        "Ratings become lessons; a night trains them; an exam decides what serves.",
        "评分成为课程，夜里训练，考试决定用哪个版本。",
    ),
    "learning.now": ("Learn now", "现在学习"),
    "learning.last": ("What was learned last night", "昨晚学到了什么"),
    "learning.lessons": ("Lessons", "课程"),
    "learning.versions": ("Versions", "版本"),
    "learning.nights": ("Nights", "夜晚"),
    "learning.none": (
        "### Nothing was learned yet\nRate some answers in the chat, best with a better answer of your own. Then press"
        " **Learn now**, or wait for the night. What was learned, and what was not, will be told here.",
        "### 还没有学到东西\n在聊天里给回答打分，最好写上更好的回答。然后点**现在学习**，或等到夜里。"
        "学到了什么、没学到什么，都会写在这里。",
    ),
    "lessons.none": (
        "No lessons yet. Every thumb you give in the chat becomes one.",
        "还没有课程。你在聊天里的每次打分都会成为一课。",
    ),
    "lessons.waiting": ("Waiting for the next night", "等待下一个夜晚"),
    "lessons.rest": ("What became of the others", "其他课程的结果"),
    "lessons.question": ("Question", "问题"),
    "lessons.wanted": ("Wanted answer", "想要的回答"),
    "lessons.rated": ("Rated", "评分时间"),
    "lessons.state": ("State", "状态"),
    "lessons.reason": ("Reason", "原因"),
    "lessons.do": ("Decide", "决定"),
    "lessons.not": ("not:", "不要："),
    "lessons.older": ("Older ones: {n}", "还有 {n} 条更早的"),
    "lessons.approve": ("Approve", "批准"),
    "lessons.hold": ("Hold", "暂缓"),
    "lessons.edit": ("Edit", "编辑"),
    "lessons.undo": ("Undo", "撤销"),
    "lessons.undo.title": ("Undo this lesson?", "撤销这一课？"),
    "lessons.undo.means": (
        "Its rating is taken back, with reasons, comment and better answer, and the next night trains without it. To"
        " have it again, rate the answer again.",
        "它的评分连同原因、备注和更好的回答都会撤回，下一个夜晚的训练不再包含它。需要时请重新给回答打分。",
    ),
    "lessons.edit.title": ("Edit this lesson", "编辑这一课"),
    "lessons.edit.do": ("Save and approve", "保存并批准"),
    "versions.none": (
        "No versions yet: the base model serves. A night that passes its exam makes the first.",
        "还没有版本：正在使用基础模型。通过考试的夜晚会产生第一个版本。",
    ),
    "versions.version": ("Version", "版本"),
    "versions.state": ("State", "状态"),
    "versions.made": ("Made", "产生时间"),
    "versions.reason": ("Reason", "原因"),
    "versions.sha": ("SHA-256", "SHA-256"),
    "versions.do": ("Decide", "决定"),
    "versions.base": ("the model without anything learned", "没有学过任何东西的模型"),
    "versions.promote": ("Promote", "启用"),
    "versions.rollback": ("Roll back", "回退"),
    "versions.rollback.title": ("Roll back?", "回退？"),
    "versions.rollback.means": (
        "Everybody's next answer comes from the version before it. It stays in the list, and can be promoted again.",
        "所有人的下一个回答将来自它之前的版本。它仍在列表中，可以重新启用。",
    ),
    "versions.promote.title": ("Promote this version?", "启用这个版本？"),
    "versions.promote.means": (
        "Everybody's next answer comes from it. What serves now stays in the list, and can be promoted again.",
        "所有人的下一个回答将来自它。现在使用的版本仍在列表中，可以重新启用。",
    ),
    "versions.compare": ("Compare", "比较"),
    "versions.serves": ("Version {version} serves now.", "现在使用版本 {version}。"),
    "compare.title": ("{one} beside {other}", "{one} 与 {other} 对比"),
    "compare.nothing": (
        "Their exams share no question, so there is nothing to compare.",
        "两者的考试没有相同的问题，无法比较。",
    ),
    "compare.right": (
        "Questions that both were asked: {n}. Right: {one} {a}, {other} {b}.",
        "两者都回答过的问题：{n} 个。答对：{one} {a} 个，{other} {b} 个。",
    ),
    "night.waits": ("waits to be taken up", "等待开始"),
    "night.queued": ("Queued", "排队中"),
    "night.learning": ("Learning", "学习中"),
    "night.cancel": ("Cancel", "取消"),
    "night.cancel.title": ("End this night?", "结束这个夜晚的学习？"),
    "night.cancel.means": (
        "What it has trained so far is lost, and its lessons wait for another night. What serves now goes on.",
        "到目前为止的训练会丢失，课程等待下一个夜晚。现在使用的版本不受影响。",
    ),
    "night.cancel.do": ("End the night", "结束夜晚"),
    "night.left": ("about {n} min left", "大约还要 {n} 分钟"),
    "night.of": ("Night of {day}", "{day} 的夜晚"),
    "stage.collect": ("collect", "收集"),
    "stage.before": ("exam before", "学前考试"),
    "stage.replay": ("replay", "复习"),
    "stage.train": ("train", "训练"),
    "stage.after": ("exam after", "学后考试"),
    "stage.decide": ("decide", "决定"),
    "stage.publish": ("publish", "发布"),
    "night.progress": ("How far the night is", "夜晚的进度"),
    "nights.none": ("No night has ended yet.", "还没有结束的夜晚。"),
    "nights.ended": ("Ended", "结束时间"),
    "nights.status": ("Status", "状态"),
    "nights.version": ("Version", "版本"),
    "nights.why": ("Why", "原因"),
    "nights.do": ("Look", "查看"),
    "nights.report": ("Report", "报告"),
    "report.last": ("The last report is that of the night that ended on {at}.", "最近的报告来自 {at} 结束的夜晚。"),
    "report.question": ("Question", "问题"),
    "report.teachers": (
        "The whole report has everybody's questions in it, and is for teachers.",
        "完整的报告包含所有人的问题，只供教师查看。",
    ),
    "exam.tonight": ("tonight's lessons", "当晚的课程"),
    "exam.reworded": ("in other words", "换一种问法"),
    "exam.earlier": ("earlier lessons", "之前的课程"),
    "exam.control": ("general questions", "一般问题"),
    "plot.scores": ("Right in the exam, version by version", "各版本考试正确率"),
    "plot.worse": ("What got worse: right before, and not any more", "变差的：之前答对、现在答错的数量"),
    "plot.loss": ("Loss, step by step", "每一步的损失"),
    "plot.nll": ("wanted answers (nats a token)", "想要的回答（nats/词元）"),
    "plot.kl": ("distance from the base (KL)", "与基础模型的距离（KL）"),
    "plot.match": ("change of log-probabilities (nats²)", "对数概率的变化（nats²）"),
    "plot.preference": ("preference", "偏好"),
    "plot.matrix": ("What each version still knows of each night's lessons", "各版本还记得每晚课程的多少"),
    "plot.matrix.corner": ("version \\ lessons of", "版本 \\ 课程来自"),
    "clock.every": ("A night begins every day at {at}.", "每天 {at} 开始夜晚学习。"),
    "clock.off": (
        "No clock is set: a night begins when somebody presses the button.",
        "没有设定时间：按下按钮才会开始。",
    ),
    "clock.asked": (
        "No clock is set: a night begins when a teacher wants one.",
        "没有设定时间：由教师开始夜晚学习。",
    ),
    "clock.set": ("Set the clock", "设定时间"),
    "clock.stop": ("Switch it off", "关闭"),
    "clock.title": ("When shall the nights begin?", "夜晚学习何时开始？"),
    "clock.about": ("Every day at this time, by the server's clock.", "每天这个时间，以服务器时钟为准。"),
    "clock.at": ("Time", "时间"),
    # states, of lessons, versions, nights, accounts and what else has any
    "state.queued": ("queued", "等待中"),
    "state.held": ("held", "已暂缓"),
    "state.trained": ("trained", "已训练"),
    "state.verified": ("verified", "已学会"),
    "state.not learned": ("not learned", "没学会"),
    "state.covered": ("covered by another", "已由另一条涵盖"),
    "state.rejected": ("rejected", "未采用"),
    "state.undone": ("undone", "已撤销"),
    "state.candidate": ("candidate", "候选"),
    "state.active": ("active", "使用中"),
    "state.retired": ("retired", "已换下"),
    "state.running": ("running", "进行中"),
    "state.promoted": ("promoted", "已启用"),
    "state.failed": ("failed", "失败"),
    "state.nothing to learn": ("nothing to learn", "没有可学的"),
    "state.cancelled": ("cancelled", "已取消"),
    "state.user": ("user", "用户"),
    "state.teacher": ("teacher", "教师"),
    "state.admin": ("admin", "管理员"),
    "state.changed": ("changed", "已更改"),
    "state.ok": ("ok", "正常"),
    # admin
    "accounts.title": ("Accounts", "账户"),
    "accounts.none": (
        "No account yet: whoever uses this machine is its one user. With the first account, which must be an admin's,"
        " everybody logs in.",
        "还没有账户：使用这台机器的人就是唯一的用户。创建第一个账户（必须是管理员）之后，每个人都要登录。",
    ),
    "accounts.add": ("Add an account", "添加账户"),
    "accounts.name": ("Name", "用户名"),
    "accounts.role": ("Role", "角色"),
    "accounts.made": ("Made", "创建时间"),
    "accounts.do": ("Change", "更改"),
    "accounts.password": ("New password", "新密码"),
    "accounts.remove": ("Remove", "移除"),
    "accounts.remove.means": (
        "Nobody can log in with it any more, and its keys stop working. Its conversations and lessons stay.",
        "此后无法用它登录，它的密钥也会失效。它的对话和课程会保留。",
    ),
    "keys.title": ("API keys", "API 密钥"),
    "keys.none": (
        "No keys yet. A program sends one as a bearer token, and acts as the account that it was made for.",
        "还没有密钥。程序以 bearer 方式发送密钥，并以相应账户的身份行事。",
    ),
    "keys.none.needed": (
        "Without accounts programs on this machine need no key.",
        "没有账户时，这台机器上的程序不需要密钥。",
    ),
    "keys.add": ("Make a key", "创建密钥"),
    "keys.label": ("What is it for?", "用途"),
    "keys.for": ("For", "用途"),
    "keys.of": ("Acts as", "身份"),
    "keys.begins": ("Begins with", "开头"),
    "keys.made": ("Made", "创建时间"),
    "keys.do": ("Change", "更改"),
    "keys.revoke": ("Revoke", "吊销"),
    "keys.revoke.title": ("Revoke this key?", "吊销这个密钥？"),
    "keys.revoke.means": (
        "The programs that use it are refused from now on. It can't be brought back: they would need a new one.",
        "使用它的程序从现在起会被拒绝。无法恢复：它们需要新的密钥。",
    ),
    "keys.once": ("The new key, which is shown this once:", "新密钥，只显示这一次："),
    "keys.copy": ("Copy", "复制"),
    "settings.title": ("Settings", "设置"),
    "settings.name": ("Setting", "设置项"),
    "settings.value": ("Value", "值"),
    "settings.about": ("What it is", "说明"),
    "settings.do": ("Change", "更改"),
    "settings.change": ("Change a setting", "更改设置"),
    "settings.empty": (
        "Leave it empty for what the server was started with.",
        "留空则恢复为服务器启动时的值。",
    ),
    "settings.others": (
        "They hold from the next answer on. What an exam depends on is set in nightschool.toml, at the start.",
        "从下一个回答起生效。与考试有关的设置在 nightschool.toml 中，启动时生效。",
    ),
    "machine.title": ("Disk and hardware", "磁盘与硬件"),
    "machine.examine": ("Examine", "检查"),
    "machine.what": ("What", "项目"),
    "machine.well": ("State", "状态"),
    "machine.found": ("Found", "结果"),
    "audit.title": ("Who did what", "操作记录"),
    "audit.none": ("Nothing has been done yet.", "还没有操作记录。"),
    "audit.at": ("When", "时间"),
    "audit.by": ("Who", "谁"),
    "audit.did": ("Did what", "做了什么"),
    "audit.detail": ("Detail", "细节"),
}


def language(accepted: str) -> Language:
    """The one of ours that a browser would rather have, by its Accept-Language."""
    ranked: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted.split(",")):
        tag, _, weight = part.strip().partition(";q=")
        try:
            ranked.append((-float(weight or 1), place, tag.casefold()))
        except ValueError:
            continue
    for _, _, tag in sorted(ranked):
        if tag.startswith("zh"):
            return "zh"
        if tag.startswith("en"):
            return "en"
    return "en"


def counted(n: int, noun: str) -> str:
    """In English, which is what is written down: one exchange, two exchanges."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def text(key: str, lang: Language, **values: Any) -> str:
    """What is said under `key`, with `{names}` filled in."""
    said = TEXTS[key][0 if lang == "en" else 1]
    return said.format(**values) if values else said
